/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The wait table of asynchronous page faults (apf.h). Locks: shared_lock -> a bucket's -> sched_lock or pool_lock. */
#include "apf.h"
#include "task.h"

enum { BUCKET_BITS = 8, MARKERS = 256 };

/* A sleeper, on its stack, or a marker, from the pool. */
struct node {
    struct node *next, **link;          /* link NULL: in no bucket */
    u64 token;
    struct task *task;                  /* NULL: a marker, or a halted CPU */
    int cpu;                            /* where the token was told */
    bool marker;
    bool shared;                        /* marker of a shared token: */
    u32 awaited;                        /* CPUs that may still come for it, one bit each; shared_lock */
    struct node *chain;                 /* the next such marker, shared_lock; in the pool: the next free one, pool_lock */
};

static struct bucket {
    struct spinlock lock;
    struct node *first;
    u64 arrivals;                       /* nodes ever linked; changed under lock, read without */
} buckets[1 << BUCKET_BITS] = {[0 ... (1 << BUCKET_BITS) - 1] = {SPINLOCK("apf bucket"), NULL, 0}};

struct apf_counters apf_counters;
_Static_assert(sizeof apf_counters == 9 * sizeof(u64), "note.S and vmemu/machine/elf.py");
static void count(u64 *counter, u64 n) { __atomic_fetch_add(counter, n, __ATOMIC_RELAXED); }

/* Fibonacci hashing (Knuth, The Art of Computer Programming 3, 6.4): tokens differ in their lower bits, or in bits 12 and up. */
static struct bucket *bucket(u64 token) { return &buckets[token * 0x9e3779b97f4a7c15ull >> (64 - BUCKET_BITS)]; }

/* ---- markers ---- */

static struct node pool[MARKERS];
static struct node *free_markers;
static u64 pool_used;                   /* nodes of the pool that have ever been given out */
static u64 pool_limit = MARKERS;        /* markers at most at a time */
static struct spinlock pool_lock = SPINLOCK("apf pool");

static struct node *marker_alloc(void)
{
    struct node *n = NULL;
    if (__atomic_load_n(&apf_counters.markers, __ATOMIC_RELAXED) >= pool_limit)
        return NULL;                    /* who asks again and again shall not keep others from the lock */
    lock(&pool_lock);
    if (apf_counters.markers < pool_limit) {
        if ((n = free_markers))
            free_markers = n->chain;
        else if (pool_used < MARKERS)
            n = &pool[pool_used++];
    }
    if (n)
        apf_counters.markers++;
    unlock(&pool_lock);
    return n;
}

static void marker_free(struct node *n)
{
    lock(&pool_lock);
    n->chain = free_markers;
    free_markers = n;
    apf_counters.markers--;
    unlock(&pool_lock);
}

void token_limit_markers(u64 n)
{
    lock(&pool_lock);
    pool_limit = n < MARKERS ? n : MARKERS;
    unlock(&pool_lock);
}

/* ---- a bucket's list; its lock held ---- */

static void link_node(struct bucket *b, struct node *n)
{
    n->next = b->first;
    n->link = &b->first;
    if (n->next)
        n->next->link = &n->next;
    b->first = n;
    __atomic_store_n(&b->arrivals, b->arrivals + 1, __ATOMIC_RELAXED);
}

static void unlink_node(struct node *n)
{
    *n->link = n->next;
    if (n->next)
        n->next->link = n->link;
    n->link = NULL;
}

static struct node *find_marker(const struct bucket *b, u64 token)
{
    struct node *n = b->first;
    while (n && !(n->marker && n->token == token))
        n = n->next;
    return n;
}

static void wake_node(struct node *n)
{
    unlink_node(n);
    if (n->task) {
        lock(&sched_lock);
        wake_for_page(n->task);
        unlock(&sched_lock);
    } else if (n->cpu != arch_cpu()) {
        send_ipi(&cpus[n->cpu], IPI_RESCHED);       /* out of arch_idle; n lives until it can have our lock */
    }
}

static bool wake_sleepers(struct bucket *b, u64 token, bool one)
{
    bool any = false;
    for (struct node *n = b->first, *next; n; n = next) {
        next = n->next;
        if (n->marker || n->token != token)
            continue;
        wake_node(n);
        any = true;
        if (one || bug(BUG_APF_WAKE_ONE))
            break;
    }
    count(&apf_counters.wakes, any);
    return any;
}

/* ---- waiting ---- */

bool may_sleep(void)
{
    const struct cpu *c = mycpu();
    return c->task && !c->locks && (!c->atomic || bug(BUG_APF_SLEEP_ATOMIC));
}

/* Until n is in no bucket. The lock is held, again at the end. */
static void sleep_until_woken(struct bucket *b, struct node *n)
{
    u64 start = time_ns();
    count(&apf_counters.waits, 1);
    count(&apf_counters.halts, !n->task);
    count(&apf_counters.sleeping, 1);
    while (n->link) {
        if (n->task) {
            sleep_on(n, &b->lock, FOREVER, false);
        } else {
            unlock(&b->lock);
            arch_idle();
            lock(&b->lock);
        }
    }
    u64 slept = time_ns() - start;
    count(&apf_counters.sleeping, ~0ull);
    count(&apf_counters.asleep_ns, slept);
    if (n->task) {
        n->task->apf_waits++;
        n->task->apf_ns += slept;
    }
}

bool token_wait(u64 token)
{
    if (irq_enabled() || mycpu()->locks)
        panic("token_wait: told of %llx %s", token, irq_enabled() ? "with interrupts on" : "while holding a lock");
    struct bucket *b = bucket(token);
    struct node n = {.token = token, .task = may_sleep() ? mycpu()->task : NULL, .cpu = arch_cpu()};
    lock(&b->lock);
    struct node *early = find_marker(b, token), *mine = early && !early->shared ? early : NULL;
    if (mine)
        unlink_node(mine);
    if (!early) {
        link_node(b, &n);
        sleep_until_woken(b, &n);
    }
    unlock(&b->lock);
    if (mine)
        marker_free(mine);
    count(&apf_counters.early, early != NULL);
    return !early;
}

/* ---- waking ---- */

/*
 * A marker, or NULL when somebody has come to the bucket: look there again. However long it takes; no lock held, for who gives a
 * marker back or is to come may need it, or wait for this CPU.
 */
static struct node *marker_get(const struct bucket *b, u64 arrivals)
{
    struct node *n = marker_alloc();
    count(&apf_counters.spins, !n);
    while (!n && __atomic_load_n(&b->arrivals, __ATOMIC_RELAXED) == arrivals) {
        tlb_serve();
        token_quiet();                  /* we are in an interrupt, so no notification is in hand here */
        arch_relax();
        n = marker_alloc();
    }
    return n;
}

static void put_marker(struct bucket *b, struct node *n, u64 token, bool shared)
{
    *n = (struct node){.token = token, .cpu = arch_cpu(), .marker = true, .shared = shared};
    link_node(b, n);
}

static void wake(u64 token, bool one)
{
    struct bucket *b = bucket(token);
    struct node *spare = NULL;
    lock(&b->lock);
    while (!wake_sleepers(b, token, one) && !find_marker(b, token) && !bug(BUG_APF_NO_MARKER)) {
        if (spare) {
            put_marker(b, spare, token, false);
            spare = NULL;
            break;
        }
        if (bug(BUG_APF_ALLOC_LOCKED)) {
            while (!(spare = marker_alloc()))
                arch_relax();
            continue;
        }
        u64 arrivals = b->arrivals;
        unlock(&b->lock);
        spare = marker_get(b, arrivals);
        lock(&b->lock);                 /* and look again: the sleeper may have come meanwhile */
        if (spare && bug(BUG_APF_NO_SECOND_LOOK)) {
            put_marker(b, spare, token, false);
            spare = NULL;
            break;
        }
    }
    unlock(&b->lock);
    if (spare)
        marker_free(spare);
}

void token_wake(u64 token) { wake(token, false); }
void token_wake_one(u64 token) { wake(token, true); }

/* cpu: where they were told, -1: anywhere. */
static void wake_all(int cpu)
{
    count(&apf_counters.broadcasts, 1);
    for (struct bucket *b = buckets; b < buckets + ARRAY_LEN(buckets); b++) {
        lock(&b->lock);
        for (struct node *n = b->first, *next; n; n = next) {
            next = n->next;
            if (cpu >= 0 && n->cpu != cpu)
                continue;
            if (!n->marker)
                wake_node(n);
            else if (bug(BUG_APF_DROP_MARKERS))
                unlink_node(n);
        }
        unlock(&b->lock);
    }
}

void token_wake_all(void) { wake_all(arch_cpu()); }
void token_wake_everybody(void) { wake_all(-1); }

/* ---- shared tokens: shared_lock before the bucket's ---- */

static struct spinlock shared_lock = SPINLOCK("apf shared");
static struct node *shared_markers;

/* Other CPUs on which a task may have been told a token and not have come to token_wait yet. */
static u32 others_in_tasks(void)
{
    u32 mask = 0;
    for (int i = 0; i < NCPU; i++)
        mask |= (u32)(i != arch_cpu() && __atomic_load_n(&cpus[i].task, __ATOMIC_ACQUIRE)) << i;
    return mask;
}

void token_wake_shared(u64 token)
{
    struct bucket *b = bucket(token);
    u32 others = others_in_tasks();
    lock(&b->lock);
    wake_sleepers(b, token, false);
    unlock(&b->lock);
    if (!others || bug(BUG_APF_NO_MARKER))
        return;
    struct node *spare, *n;
    while (!(spare = marker_get(b, __atomic_load_n(&b->arrivals, __ATOMIC_RELAXED))))
        ;
    lock(&shared_lock);
    lock(&b->lock);
    wake_sleepers(b, token, false);            /* who came in between */
    if (!(n = find_marker(b, token))) {
        n = spare;
        spare = NULL;
        put_marker(b, n, token, true);
        n->chain = shared_markers;
        shared_markers = n;
    }
    n->awaited |= others;
    unlock(&b->lock);
    unlock(&shared_lock);
    if (spare)
        marker_free(spare);
}

void token_quiet(void)
{
    u32 me = 1u << arch_cpu();
    if (!__atomic_load_n(&shared_markers, __ATOMIC_ACQUIRE))
        return;
    lock(&shared_lock);
    for (struct node **at = &shared_markers, *n; (n = *at);) {
        n->awaited &= ~me;
        if (n->awaited) {
            at = &n->chain;
            continue;
        }
        *at = n->chain;
        struct bucket *b = bucket(n->token);
        lock(&b->lock);
        unlink_node(n);
        unlock(&b->lock);
        marker_free(n);
    }
    unlock(&shared_lock);
}
