/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Loader of the first program: 64-bit static ELF in the machine's byte order (ELF-64 Object File Format 1.5). */
#include "task.h"

struct elf_header {
    u8 ident[16];
    u16 type, machine;
    u32 version;
    u64 entry, phoff, shoff;
    u32 flags;
    u16 ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};

struct elf_segment {
    u32 type, flags;
    u64 offset, vaddr, paddr, filesz, memsz, align;
};

enum { ET_EXEC = 2, PT_LOAD = 1, PF_X = 1, PF_W = 2 };
enum { EM_PPC64 = 21, EM_X86_64 = 62, EM_AARCH64 = 183 };

#if defined(__x86_64__)
enum { MACHINE = EM_X86_64, DATA = 1 };     /* DATA: 1 little-endian, 2 big-endian */
#elif defined(__aarch64__)
enum { MACHINE = EM_AARCH64, DATA = 1 };
#else
enum { MACHINE = EM_PPC64, DATA = 2 };
#endif

static bool acceptable(const struct elf_header *h, u64 size)
{
    static const u8 ident[] = {0x7f, 'E', 'L', 'F', 2, DATA, 1};
    return memcmp(h->ident, ident, sizeof ident) == 0 && h->type == ET_EXEC && h->machine == MACHINE &&
           h->phentsize == sizeof(struct elf_segment) && h->phnum <= NREGION && h->phoff <= size && !(h->phoff & 7) &&
           h->phnum * sizeof(struct elf_segment) <= size - h->phoff;
}

static int add_segment(struct mm *mm, const u8 *image, u64 size, const struct elf_segment *s)
{
    if (s->offset > size || s->filesz > size - s->offset || s->filesz > s->memsz || s->vaddr < UTEXT_MIN ||
        s->vaddr >= UHEAP_MAX || s->memsz > UHEAP_MAX - s->vaddr)
        return -EINVAL;
    struct region r = {
        .start = PAGE_DOWN(s->vaddr),
        .end = PAGE_UP(s->vaddr + s->memsz),
        .prot = PROT_R | (s->flags & PF_W ? PROT_W : 0) | (s->flags & PF_X ? PROT_X : 0),
        .file = image + s->offset,
        .file_start = s->vaddr,
        .file_end = s->vaddr + s->filesz,
    };
    if (r.end > mm->brk)        /* the heap starts a page behind the last segment */
        mm->brk = mm->brk_start = r.end + PAGE_SIZE;
    return vm_add(mm, &r);
}

int elf_load(struct mm *mm, const u8 *image, u64 size, u64 *entry)
{
    const struct elf_header *h = (const struct elf_header *)image;
    if ((uptr)image & 7 || size < sizeof *h || !acceptable(h, size))
        return -EINVAL;
    const struct elf_segment *s = (const struct elf_segment *)(image + h->phoff);
    for (int i = 0; i < h->phnum; i++) {
        int error = s[i].type == PT_LOAD && s[i].memsz ? add_segment(mm, image, size, &s[i]) : 0;
        if (error)
            return error;
    }
    *entry = h->entry;
    return 0;
}
