/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * copy, paste. and cpabort (Power ISA 3.1B, Book II 4.4): a processor has one buffer of 128 bytes. copy fills it, as a load would;
 * paste. sends it to an accelerator at a real address that is not memory, and CR0 tells whether that took it.
 *
 * The engine knows copy and paste. as illegal and cpabort as nothing (engine.md 3). An interrupt leaves the buffer alone: that a
 * task never pastes what another one copied is the business of the guest's kernel, with cpabort.
 */
#include <string.h>

#include "ppc64.h"

#define WORD_MASK 0xfc2007ffu                           /* all but RA, RB and reserved bits */
#define COPY 0x7c20060cu
#define PASTE 0x7c20070du
#define CPABORT (31u << 26 | 838u << 1)
#define XO_MASK (63u << 26 | 0x3ffu << 1)

enum { CR_EQ = 2 };

bool ppc64_is_copy_paste(u32 insn) { return (insn & WORD_MASK) == COPY || (insn & WORD_MASK) == PASTE; }
bool ppc64_is_cpabort(u32 insn) { return (insn & XO_MASK) == CPABORT; }

static u64 effective_address(struct vcpu *v, u32 insn)
{
    u64 base = insn >> 16 & 31 ? *gpr(v, insn >> 16 & 31) : 0, ea = base + *gpr(v, insn >> 11 & 31);

    return msr(v) & MSR_SF ? ea : (u32)ea;
}

/* true: the address is good. false: a fault is pending, or *ex asks for a page; the instruction is executed again. */
static bool translate(struct vcpu *v, u64 ea, enum access acc, u64 *gpa, struct vm_exit *ex)
{
    struct walk w = { 0 };

    switch (ppc64_walk(v, ea, acc, &w)) {
    case WALK_OK:
        *gpa = w.gpa;
        return true;
    case WALK_FAULT:
        v->count[C_FAULT_GUEST]++;
        event(v->m, v, EV_GUEST_FAULT, ea, w.fault, acc);
        ppc64_page_fault(v, &w, ea, acc);
        return false;
    default:
        ex->kind = EXIT_STAGE2;
        ex->gpa = w.gpa, ex->gva = ea, ex->access = ACC_READ;
        return false;
    }
}

static bool copy(struct vcpu *v, u64 ea, struct vm_exit *ex)
{
    struct ppc64_state *s = ppc64_of(v);
    u64 gpa;

    if (!translate(v, ea, ACC_READ, &gpa, ex))
        return false;
    if (s2_index(v->m, gpa) < 0) {                      /* a load from where nobody answers */
        v->count[C_FAULT_MEM_ERROR]++;
        event(v->m, v, EV_MEM_ERROR, gpa, ea, ACC_READ);
        ppc64_mem_error(v, ea, gpa, ACC_READ);
        return false;
    }
    const u8 *from = s2_ptr(v->m, gpa, false);
    if (!from) {
        ex->kind = EXIT_STAGE2;
        ex->gpa = gpa, ex->gva = ea, ex->access = ACC_READ;
        return false;
    }
    debug_host(v->m, v, ea, gpa, sizeof s->copy, WATCH_READ);
    memcpy(s->copy, from, sizeof s->copy);
    for (u32 i = 0; i < COPY_BYTES / 8; i++)            /* numbers, as registers.py shows them */
        s->copy[i] = be64(s->copy[i]);
    s->copied = 1;
    return true;
}

/* Whatever comes of it, the buffer is empty afterwards. Memory takes no paste, nor does an address where nobody listens. */
static bool paste(struct vcpu *v, u64 ea, struct vm_exit *ex)
{
    struct ppc64_state *s = ppc64_of(v);
    u64 gpa, block[COPY_BYTES / 8];
    bool taken = false;

    if (!translate(v, ea, ACC_WRITE, &gpa, ex))
        return false;
    for (u32 i = 0; i < COPY_BYTES / 8; i++)
        block[i] = be64(s->copy[i]);
    if (s->copied && s2_index(v->m, gpa) < 0)
        taken = vcpu_io(v, IO_PASTE, gpa, COPY_BYTES, block) == IO_OK && block[0] == 1;
    ppc64_copy_abort(v);
    env32(v, ENV_CRF)[0] = (taken ? CR_EQ : 0) | (*env64(v, ENV_SO) & 1);
    return true;
}

void ppc64_copy_abort(struct vcpu *v)
{
    struct ppc64_state *s = ppc64_of(v);

    memset(s->copy, 0, sizeof s->copy);
    s->copied = 0;
}

bool ppc64_copy_paste(struct vcpu *v, u32 insn, struct vm_exit *ex)
{
    u64 ea = effective_address(v, insn);

    if (ea & (COPY_BYTES - 1)) {
        ppc64_misaligned(v, ea);
        return false;
    }
    if (!((insn & WORD_MASK) == COPY ? copy(v, ea, ex) : paste(v, ea, ex)))
        return ex->kind == EXIT_STAGE2;
    *env64(v, ENV_NIP) += 4;
    return false;
}
