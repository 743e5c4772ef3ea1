/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Known bugs of real kernels, kept as switches: `if (bug(BUG_x))` takes the wrong path on purpose. All are off by default. */
#ifndef VMEMU_BUGS_H
#define VMEMU_BUGS_H

#include "types.h"

/* X(identifier, "name on the command line", "what goes wrong") */
#define BUG_SWITCHES(X) \
    X(BUG_FORK_NO_FLUSH, "fork-no-flush", "fork leaves writable translations of shared pages in the TLB") \
    X(BUG_APF_NO_MARKER, "apf-no-marker", "a wake that comes before its sleeper is forgotten: the task sleeps for ever") \
    X(BUG_APF_WAKE_ONE, "apf-wake-one", "a wake reaches one sleeper of its token: the others sleep for ever") \
    X(BUG_APF_ALLOC_LOCKED, "apf-alloc-locked", "a marker is waited for with the bucket locked: both CPUs spin for ever when there is none") \
    X(BUG_APF_NO_SECOND_LOOK, "apf-no-second-look", "a marker is left though its sleeper came meanwhile: he sleeps for ever") \
    X(BUG_APF_DROP_MARKERS, "apf-drop-markers", "wake-all drops markers without freeing them: they run out, latecomers sleep for ever") \
    X(BUG_APF_SLEEP_ATOMIC, "apf-sleep-atomic", "kernel code that must not sleep is put to sleep: panic in sched") \
    X(BUG_APF_LATE_REASON, "apf-late-reason", "kvm-2010: another notification comes before the reason is read: SIGSEGV at a token") \
    X(BUG_APF_NO_EOI, "apf-no-eoi", "kvm: no end of the ready interrupt: it comes once, and tasks sleep for ever") \
    X(BUG_APF_NO_ACK, "apf-no-ack", "kvm: tokens are not acknowledged: the next one comes late or never") \
    X(BUG_APF_NO_BROADCAST, "apf-no-broadcast", "kvm: wake-all is taken for a token: a marker stays, sleepers of before sleep for ever") \
    X(BUG_APF_NO_TEARDOWN, "apf-no-teardown", "kvm: a CPU that leaves stays registered: its area is written to afterwards") \
    X(BUG_APF_ENABLED_AT_64, "apf-enabled-at-64", "kvm: the enabled word lies in the next CPU's area: a real fault is taken for a token") \
    X(BUG_APF_DOC_BITS, "apf-doc-bits", "kvm: the documentation's errors: token in bytes 5 to 7, SEND_ALWAYS in bit 2") \
    X(BUG_SDEI_NO_CLEAR, "sdei-no-clear", "arm64: the handler leaves the shared buffer full: no page is announced as ready any more") \
    X(BUG_SDEI_NO_ACK, "sdei-no-ack", "arm64: page-ready is not acknowledged: its interrupt comes again and again") \
    X(BUG_SDEI_STALE_FLAG, "sdei-stale-flag", "arm64: the task sleeps although the page came after it looked: it sleeps for ever") \
    X(BUG_ESN_NO_ARM, "esn-no-arm", "papr: the trigger is flipped once and never again: one interrupt, then tasks sleep for ever") \
    X(BUG_ESN_NO_RECHECK, "esn-no-recheck", "papr: no look at the ring after the flip: what was posted just before waits for ever") \
    X(BUG_ESN_ARM_AGAIN, "esn-arm-again", "papr: the trigger is flipped again when the look after it finds numbers: that takes the wish back") \
    X(BUG_ESN_ZERO_SLEEPS, "esn-zero-sleeps", "papr: number 0, the page is back already, is slept on for ever") \
    X(BUG_ESN_STALE_NUMBER, "esn-stale-number", "papr: pageable memory is touched before the number is saved: tasks sleep on another's number") \
    X(BUG_ESN_EARLY_REAL, "esn-early-real", "papr: a wake that came first is taken for a real fault: the ordinary handler finds none, and panics") \
    X(BUG_ESN_RFC_2F8, "esn-rfc-2f8", "the rfc guest registers by LoPAR's number: its trigger never flips, no interrupt ever comes") \
    X(BUG_VAS_NO_CPABORT, "vas-no-cpabort", "a context switch keeps the copy buffer: a task pastes what another one has copied") \
    X(BUG_VAS_CC_5, "vas-cc-5", "translation faults are told with completion code 5, as before 5.8: programs do not know it") \
    X(BUG_VAS_CSB_UNMASKED, "vas-csb-unmasked", "flags in the CSB pointer shift the block that the kernel writes for a fault") \
    X(BUG_VAS_CSB_AT_ONCE, "vas-csb-at-once", "the valid bit of a fault's CSB is not written last: programs see half a block") \
    X(BUG_VAS_FREE_EARLY, "vas-free-early", "a window that closes is forgotten before its credits are home: it never closes") \
    X(BUG_VAS_BAD_WINDOW_STOPS, "vas-bad-window-stops", "a fault of an unknown window ends the fault thread's loop: those behind it wait") \
    X(BUG_VAS_LOST_FAULT, "vas-lost-fault", "the fault thread stops a while after it found nothing: an interrupt in between is lost") \
    X(BUG_VAS_CLOSE_NO_WAIT, "vas-close-no-wait", "powervm: a window closes while its last fault is being told: others' memory is written")

#define BUG_ENUM(id, name, text) id,
enum bug { BUG_SWITCHES(BUG_ENUM) N_BUGS };
#undef BUG_ENUM

extern bool bug_switch[N_BUGS];
static inline bool bug(enum bug id) { return __builtin_expect(bug_switch[id], 0); }

/* Switch on every bug of a comma-separated list of len bytes. Panics on an unknown name: a lab run must not test nothing. */
void bugs_enable(const char *names, size_t len);

#endif
