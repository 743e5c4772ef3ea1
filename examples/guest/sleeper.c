/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest of one file, which shares nothing with vmemu's own: x86-64 on bare metal, one CPU, KVM's asynchronous page faults.
 *
 * It fills eight pages, says "go", reads them back and powers off. What it reads may be away by then: the host tells it by a page
 * fault with a token, and the handler sleeps until the interrupt says that this token's page is back.
 *
 *     python -m ziglang cc -target x86_64-freestanding-none -mcpu=x86_64-sse-sse2-mmx+soft_float -mno-red-zone -O2 -ffreestanding \
 *         -nostdlib -static -Wno-excessive-regsave -Wl,-T,sleeper.ld -o sleeper.elf sleeper.c
 *
 * With -DCAREFUL the handler is right; as it is, it can miss what it waits for.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

/* vmemu starts an image without a kernel's note as firmware starts, in flat 32-bit mode: to long mode, 1 GiB mapped one to one. */
__asm__(".section .text.start, \"ax\"\n"
        ".code32\n"
        ".globl _start\n"
        "_start:\n"
        "   movl $pdpt + 3, pml4\n"
        "   movl $pd + 3, pdpt\n"
        "   movl $pd, %edi\n"
        "   movl $0x83, %eax\n" /* present, writable, 2 MiB */
        "1: movl %eax, (%edi)\n"
        "   addl $8, %edi\n"
        "   addl $0x200000, %eax\n"
        "   cmpl $0x40000083, %eax\n"
        "   jne 1b\n"
        "   movl $pml4, %eax\n"
        "   movl %eax, %cr3\n"
        "   movl %cr4, %eax\n"
        "   orl $0x20, %eax\n" /* PAE */
        "   movl %eax, %cr4\n"
        "   movl $0xc0000080, %ecx\n" /* EFER.LME */
        "   rdmsr\n"
        "   orl $0x100, %eax\n"
        "   wrmsr\n"
        "   movl %cr0, %eax\n"
        "   orl $0x80000001, %eax\n" /* PG, PE */
        "   movl %eax, %cr0\n"
        "   lgdt gdt_pointer\n"
        "   ljmp $8, $1f\n"
        ".code64\n"
        "1: xorl %eax, %eax\n"
        "   movl %eax, %ds\n"
        "   movl %eax, %es\n"
        "   movl %eax, %ss\n"
        "   leaq stack_top(%rip), %rsp\n"
        "   call guest\n"
        ".section .rodata\n"
        ".balign 8\n"
        "gdt: .quad 0, 0x00af9b000000ffff\n"
        "gdt_pointer: .word 15\n"
        "   .long gdt\n"
        ".bss\n"
        ".balign 4096\n"
        "pml4: .skip 4096\n"
        "pdpt: .skip 4096\n"
        "pd: .skip 4096\n"
        "   .skip 16384\n"
        "stack_top:\n"
        ".text\n");

enum { PAGES = 8, WORDS = 512, PAGE_FAULT = 14, PAGE_READY = 0x40 };
/* Linux, Documentation/virt/kvm/x86/msr.rst; x2APIC registers: SDM 3, 10.12. */
enum { ASYNC_PF_EN = 0x4b564d02, ASYNC_PF_INT = 0x4b564d06, ASYNC_PF_ACK = 0x4b564d07 };
enum { ENABLED = 1, SEND_ALWAYS = 2, BY_INTERRUPT = 8 };
enum { APIC_BASE = 0x1b, X2APIC = 1 << 10, APIC_EOI = 0x80b, APIC_SVR = 0x80f, APIC_ON = 0x1ff };

struct gate { u16 low, selector, flags, middle; u32 high, zero; } __attribute__((packed));
struct frame { u64 ip, cs, flags, sp, ss; };

static volatile struct { u32 flags, token; } area __attribute__((aligned(64)));
static volatile u32 back; /* the token whose page came last */
static struct gate idt[256];
static u64 pages[PAGES][WORDS] __attribute__((section(".pages"), aligned(4096)));

static void wrmsr(u32 msr, u64 value) { __asm__ volatile("wrmsr" ::"c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory"); }

static u64 rdmsr(u32 msr)
{
    u32 low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (u64)high << 32 | low;
}

static void put(const char *text)
{
    for (; *text; text++)
        __asm__ volatile("outb %0, %1" ::"a"(*text), "d"((u16)0x3f8));
}

__attribute__((noreturn)) static void power_off(u32 status)
{
    for (;;)
        __asm__ volatile("outl %0, %1" ::"a"(status), "d"((u16)0xf4));
}

__attribute__((interrupt)) static void on_page_ready(struct frame *frame)
{
    (void)frame;
    back = area.token;
    area.token = 0;
    wrmsr(ASYNC_PF_ACK, 1);
    wrmsr(APIC_EOI, 0);
}

__attribute__((interrupt)) static void on_page_fault(struct frame *frame, u64 error)
{
    u64 token;
    (void)frame, (void)error;
    if (!area.flags)
        power_off(3); /* a true fault: there should be none */
    __asm__ volatile("movq %%cr2, %0" : "=r"(token));
    area.flags = 0;
    while (back != (u32)token) { /* interrupts are off here */
#ifdef CAREFUL
        __asm__ volatile("sti; hlt; cli" ::: "memory"); /* sti takes effect after the next instruction: hlt cannot miss it */
#else
        __asm__ volatile("sti; nop; hlt; cli" ::: "memory");
#endif
    }
}

static void set_gate(int vector, void *handler)
{
    u64 at = (u64)handler;
    idt[vector] = (struct gate){.low = (u16)at, .selector = 8, .flags = 0x8e00, .middle = (u16)(at >> 16), .high = (u32)(at >> 32)};
}

void guest(void)
{
    struct { u16 limit; u64 base; } __attribute__((packed)) pointer = {sizeof idt - 1, (u64)idt};

    set_gate(PAGE_FAULT, (void *)on_page_fault);
    set_gate(PAGE_READY, (void *)on_page_ready);
    __asm__ volatile("lidt %0" ::"m"(pointer));
    wrmsr(APIC_BASE, rdmsr(APIC_BASE) | X2APIC);
    wrmsr(APIC_SVR, APIC_ON);
    for (u64 i = 0; i < PAGES; i++)
        for (u64 k = 0; k < WORDS; k++)
            pages[i][k] = i << 32 | k;
    wrmsr(ASYNC_PF_INT, PAGE_READY);
    wrmsr(ASYNC_PF_EN, (u64)&area | ENABLED | SEND_ALWAYS | BY_INTERRUPT);
    __asm__ volatile("sti");
    put("go\n");
    for (u64 i = 0; i < PAGES; i++)
        for (u64 k = 0; k < WORDS; k += 64)
            if (((volatile u64 *)pages[i])[k] != (i << 32 | k))
                power_off(1);
    wrmsr(ASYNC_PF_EN, 0);
    put("all pages are as they were\n");
    power_off(0);
}
