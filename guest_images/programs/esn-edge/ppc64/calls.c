/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The status of every call, right below and above each of its limits, and that what is refused changes nothing. */
#include "edge.h"

static u8 area[2 * PAGE_SIZE] __attribute__((aligned(4096)));
static u64 ram;

/* Sub-functions of H_REGISTER_VPA, in bits 16 to 18 (11.3.2). */
enum { VPA = 1, DTL = 2, SLB = 3, DEREGISTER = 4 };

static s64 vpa_call(u64 sub, u64 cpu, u64 address) { return hypercall(H_REGISTER_VPA, sub << 45, cpu, address, 0); }

static void set_size(u64 at, u32 bytes, int width)
{
    for (int i = 0; i < width; i++)
        area[at + 4 + (u64)i] = (u8)(bytes >> 8 * (width - 1 - i));
}

static void test_vpa(void)
{
    u64 a = gpa(area), kernels = (u64)hook(HOOK_VPA, 0, 0);
    test_begin("virtual processor areas");
    set_size(0, 640, 2);
    check_equal(vpa_call(VPA, 1000, a), H_PARAMETER, "a CPU that is not there");
    check_equal(vpa_call(VPA, 0, a + 64), H_PARAMETER, "half a cache line");
    check_equal(vpa_call(VPA, 0, 0), H_PARAMETER, "address 0");
    check_equal(vpa_call(VPA, 0, ram), H_PARAMETER, "an address behind memory");
    check_equal(vpa_call(0, 0, a), H_PARAMETER, "sub-function 0");
    check_equal(vpa_call(4, 0, a), H_PARAMETER, "sub-function 4");
    set_size(0, 639, 2);
    check_equal(vpa_call(VPA, 0, a), H_PARAMETER, "639 bytes");
    set_size(0xe00, 640, 2);
    check_equal(vpa_call(VPA, 0, a + 0xe00), H_PARAMETER, "640 bytes across the end of a page");
    set_size(0xd80, 640, 2);
    check_equal(vpa_call(VPA, 0, a + 0xd80), H_SUCCESS, "640 bytes up to the end of a page");
    check_equal(*(volatile u32 *)(area + 0xd80 + VPA_DISPATCHED) & 1, 0, "the dispatch count of a CPU that runs, modulo 2,");
    area[0xd80 + VPA_CYCLES] = EXPROPRIATION;
    check_equal(vpa_call(VPA, 0, a + 0xd80), H_SUCCESS, "the same again");
    check_equal(area[0xd80 + VPA_CYCLES], 0, "byte 0xb9 after it");
    set_size(0, 47, 4);
    check_equal(vpa_call(DTL, 0, a), H_PARAMETER, "a dispatch trace log of 47 bytes");
    set_size(0, 48, 4);
    check_equal(vpa_call(DTL, 0, a), H_SUCCESS, "one of 48");
    check_equal(vpa_call(DEREGISTER | VPA, 0, 0), H_RESOURCE, "no VPA, but a log");
    check_equal(vpa_call(DEREGISTER | DTL, 0, 0), H_SUCCESS, "no log");
    check_equal(vpa_call(DEREGISTER | VPA, 0, 0), H_SUCCESS, "no VPA");
    check_equal(vpa_call(DEREGISTER | VPA, 0, 0), H_SUCCESS, "no VPA, again");
    check_equal(vpa_call(DTL, 0, a), H_RESOURCE, "a log without a VPA");
    check_equal(vpa_call(SLB, 0, a), H_RESOURCE, "an SLB shadow without a VPA");
    check_equal(vpa_call(VPA, 0, kernels), H_SUCCESS, "the kernel's VPA");
    test_end();
}

static void test_area(void)
{
    u64 a = gpa(area);
    test_begin("registering an area");
    check_equal(hypercall(H_REG_SNS, NO_AREA, 5, 0, 0), H_SUCCESS, "no area, where there is none");
    static const struct {
        u64 offset, bytes;
        s64 status;
        const char *what;
    } cases[] = {
        {0, 0, H_P2, "0 bytes"}, {0, 254, H_P2, "254 bytes"}, {0, 255, H_P2, "255 bytes"}, {0, 256, H_SUCCESS, "256 bytes"},
        {0, 257, H_P2, "257 bytes"}, {0, 258, H_SUCCESS, "258 bytes"}, {0, 4094, H_SUCCESS, "4094 bytes"},
        {0, 4096, H_SUCCESS, "4096 bytes"}, {0, 4097, H_P2, "4097 bytes"}, {0, 4098, H_P2, "4098 bytes"}, {0, 65536, H_P2, "64 KiB"},
        {0, ~1ull, H_P2, "nearly 2^64 bytes"}, {16, 256, H_PARAMETER, "an address that ends in 10"},
        {2048, 256, H_PARAMETER, "the middle of a page"}, {2048, 255, H_PARAMETER, "two mistakes: the first counts"},
    };
    for (u64 i = 0; i < ARRAY_LEN(cases); i++) {
        check_equal(hypercall(H_REG_SNS, a + cases[i].offset, cases[i].bytes, 0, 0), cases[i].status, cases[i].what);
        if (cases[i].status != H_SUCCESS)
            continue;
        check_equal((s64)answer[0], UNIT, "the unit address");
        check_equal((s64)answer[1], SOURCE, "the interrupt source");
        check_equal(hypercall(H_REG_SNS, a, 4096, 0, 0), H_BUSY, "a second area");
        check_equal(hypercall(H_REG_SNS, a, 255, 0, 0), H_P2, "255 bytes, with an area");
        check_equal(hypercall(H_REG_SNS, NO_AREA, 4096, 0, 0), H_SUCCESS, "no area any more");
    }
    check_equal(hypercall(H_REG_SNS, ram, 4096, 0, 0), H_PARAMETER, "an area behind memory");
    check_equal(hypercall(H_REG_SNS, 1ull << 60, 4096, 0, 0), H_PARAMETER, "an area far behind memory");
    check_equal(hypercall(H_REG_SNS, ram - PAGE_SIZE, 4096, 0, 0), H_SUCCESS, "an area in the last page");
    check_equal(hypercall(H_REG_SNS, NO_AREA, 0, 0, 0), H_SUCCESS, "no area any more");
    check_equal(hypercall(H_REG_SNS, NO_AREA, 0, 0, 0), H_SUCCESS, "no area, again");
    check_equal(hypercall(H_REG_SNS_RFC, a, 4096, 0, 0), H_FUNCTION, "the RFC's number of the call");
    test_end();
}

static void test_signal(void)
{
    test_begin("switching the interrupt");
    check_equal(hypercall(H_VIO_SIGNAL, UNIT, 1, 0, 0), H_SUCCESS, "on");
    check_equal(hypercall(H_VIO_SIGNAL, UNIT, 1, 0, 0), H_SUCCESS, "on again");
    check_equal(hypercall(H_VIO_SIGNAL, UNIT, 2, 0, 0), H_PARAMETER, "a second source");
    check_equal(hypercall(H_VIO_SIGNAL, UNIT + 2, 1, 0, 0), H_PARAMETER, "another unit");
    check_equal(hypercall(H_VIO_SIGNAL, UNIT | 1ull << 32, 1, 0, 0), H_PARAMETER, "a unit of more than 32 bits");
    check_equal(hypercall(H_VIO_SIGNAL, UNIT, 0, 0, 0), H_SUCCESS, "off");
    test_end();
}

/* Vectors as in LoPAR, "ibm,client-architecture-support": PVRs, then option vectors 1 to 5. */
static s64 negotiate(bool cmo)
{
    static const u8 ask[] = {0xff, 0xff, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 4, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0};
    memcpy(area, ask, sizeof ask);
    area[sizeof ask - 1] = cmo ? 0x80 : 0;
    return hypercall(H_CAS, gpa(area), gpa(area + PAGE_SIZE), 9, 0);
}

static void test_negotiation(void)
{
    u64 a = gpa(area + PAGE_SIZE);
    test_begin("over-commitment is agreed upon first");
    check_equal(negotiate(false), H_SUCCESS, "a partition that wants none");
    check_equal(hypercall(H_REG_SNS, a, 4096, 0, 0), H_FUNCTION, "an area without it");
    check_equal(hypercall(H_PAGE_INIT, PAGE_STATE(UNUSED), a, 0, 0), H_PARAMETER, "a page state without it");
    check_equal(negotiate(true), H_SUCCESS, "a partition that wants it");
    check_equal(area[PAGE_SIZE + 4] & 0x80, 0x80, "byte 4 of the answer");
    check_equal(hypercall(H_REG_SNS, a, 4096, 0, 0), H_SUCCESS, "an area with it");
    check_equal(hypercall(H_REG_SNS, NO_AREA, 0, 0, 0), H_SUCCESS, "no area any more");
    test_end();
}

static void test_page_states(void)
{
    u64 a = gpa(area);
    test_begin("page states");
    area[7] = 7;
    check_equal(hypercall(H_PAGE_INIT, PAGE_STATE(UNUSED), a + 128, 0, 0), H_PARAMETER, "a part of a page");
    check_equal(hypercall(H_PAGE_INIT, PAGE_STATE(UNUSED), ram, 0, 0), H_PARAMETER, "a page behind memory");
    check_equal(hypercall(H_PAGE_INIT, PAGE_STATE(EXPENDABLE), a, 0, 0), H_SUCCESS, "expendable");
    check_equal(hypercall(H_PAGE_INIT, PAGE_STATE(ACTIVE), a, 0, 0), H_SUCCESS, "active");
    check_equal(area[7], 7, "a byte that nobody has touched");
    test_end();
}

/* 5.3 R1-11: problem state may not call. */
static s64 call_from_here(u64 token)
{
    register u64 r3 __asm__("r3") = token;
    register u64 r4 __asm__("r4") = 0;
    __asm__ volatile(".long 0x44000022" : "+r"(r3), "+r"(r4)::"r0", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "cr0", "ctr", "memory");
    return (s64)r3;
}

static void test_others(void)
{
    test_begin("calls that are not there, and callers");
    for (u64 token = 0xffc; token < 0x1010; token++)
        check_equal(hypercall(token, 0, 0, 0, 0), H_FUNCTION, "a number without a call");
    check_equal(hypercall(H_REG_SNS + 1, NO_AREA, 0, 0, 0), H_FUNCTION, "a number that is no multiple of 4");
    check_equal(call_from_here(H_REG_SNS), H_PRIVILEGE, "a call from problem state");
    check_equal(call_from_here(0x1000), H_PRIVILEGE, "none, from problem state");
    check_equal(hypercall(H_PROD, 0, 0, 0, 0), H_SUCCESS, "a prod");
    check_equal(hypercall(H_CEDE, 0, 0, 0, 0), H_SUCCESS, "ceding with a prod waiting");
    check_equal(hypercall(H_PROD, 1000, 0, 0, 0), H_PARAMETER, "a prod of a CPU that is not there");
    test_end();
}

void test_calls(void)
{
    struct sysinfo info;
    sysinfo(&info);
    ram = info.ram_bytes;
    area[0] = area[PAGE_SIZE] = 0;      /* they have frames now, and keep them */
    test_vpa();
    test_area();
    test_signal();
    test_negotiation();
    test_page_states();
    test_others();
}
