/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From the device tree to the first task. */
#include "apf.h"
#include "task.h"

u64 mem_base, mem_size;
bool quiet, page_states;

static void memory_init(void)
{
    if (!fdt_reg("/memory", &mem_base, &mem_size))
        panic("memory_init: the device tree has no /memory");
    if (mem_base >= LINEAR_MAX || mem_base & PAGE_MASK)
        panic("memory_init: RAM at %llx is out of reach", mem_base);
    if (mem_size > LINEAR_MAX - mem_base)
        mem_size = LINEAR_MAX - mem_base;
    mem_size = PAGE_DOWN(mem_size);
}

/* A word of the command line that the kernel takes for itself. */
static bool kernel_option(const char *word, size_t len)
{
    if (len == 5 && memcmp(word, "quiet", 5) == 0) {
        quiet = true;
        return true;
    }
    if (len == 11 && memcmp(word, "page-states", 11) == 0) {
        page_states = true;
        return true;
    }
    if (len > 4 && memcmp(word, "bug=", 4) == 0) {
        bugs_enable(word + 4, len - 4);
        return true;
    }
    if (len > 4 && memcmp(word, "apf=", 4) == 0) {
        apf_option(word + 4, len - 4);
        return true;
    }
    return false;
}

static char args[1024] = "init";        /* the program's words, its name first */

static void parse_command_line(const char *line)
{
    size_t n = strlen(args);
    while (line && *line) {
        size_t len = 0;
        while (line[len] && line[len] != ' ')
            len++;
        if (len && !kernel_option(line, len)) {
            if (n + 1 + len >= sizeof args)
                panic("parse_command_line: more than %d bytes", (int)sizeof args - 1);
            args[n++] = ' ';
            memcpy(args + n, line, len);
            n += len;
            args[n] = 0;
        }
        line += line[len] ? len + 1 : len;
    }
}

static void start_first_task(void)
{
    u64 start = fdt_num("/chosen", "linux,initrd-start", 0), end = fdt_num("/chosen", "linux,initrd-end", 0);
    if (start >= end || start < mem_base || end > mem_base + mem_size)
        panic("start_first_task: no initrd in RAM (%llx to %llx)", start, end);
    task_init(pa_to_kva(start), end - start, args);
}

void kmain(void *dtb)
{
    for (int i = 0; i < NCPU; i++)
        cpus[i] = (struct cpu){.armed = FOREVER, .slice_end = FOREVER, .online = i == 0};
    fdt_init(dtb);
    parse_command_line(fdt_str("/chosen", "bootargs"));
    memory_init();
    pool_init();
    frames_init();
    arch_init();
    if (!quiet)
        kprintf("vmemu kernel %s: %llu MiB RAM, %llu KiB pinned, %llu user pages\n", ISA_NAME, mem_size >> 20,
                (u64)(kernel_end - kernel_start) >> 10, frames_total());
    apf_init();
    smp_init();
    start_first_task();
    scheduler();
}
