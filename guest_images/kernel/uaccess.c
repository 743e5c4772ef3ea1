/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Copies between kernel and user memory. The kernel looks the user address up itself and goes through the linear map, so it
 * never takes a stage-1 fault, and works on address spaces that are not loaded.
 */
#include "task.h"

/* Linear-map address of user address va after making it accessible, or NULL. */
static u8 *user_page(struct mm *mm, u64 va, int access)
{
    int prot;
    u64 pa = arch_lookup(mm->root, PAGE_DOWN(va), &prot);
    if (!pa || (access == ACC_WRITE && !(prot & PROT_W))) {
        if (vm_fault_locked(mm, va, access) != 0)
            return NULL;
        pa = arch_lookup(mm->root, PAGE_DOWN(va), &prot);
    }
    if (prot & PROT_DEVICE)
        return NULL;
    return (u8 *)pa_to_kva(pa) + (va & PAGE_MASK);
}

static int copy_locked(struct mm *mm, u64 va, u8 *kernel, u64 n, int access)
{
    while (n) {
        u64 part = PAGE_SIZE - (va & PAGE_MASK);
        u8 *user = user_page(mm, va, access);
        if (!user)
            return -EFAULT;
        if (part > n)
            part = n;
        if (access == ACC_WRITE)
            memcpy(user, kernel, part);
        else
            memcpy(kernel, user, part);
        va += part;
        kernel += part;
        n -= part;
    }
    return 0;
}

static int copy(struct mm *mm, u64 va, u8 *kernel, u64 n, int access)
{
    if (va >= USER_TOP || n > USER_TOP - va)
        return -EFAULT;
    mutex_lock(&mm->lock);
    int error = copy_locked(mm, va, kernel, n, access);
    mutex_unlock(&mm->lock);
    return error;
}

int copy_to_user(struct mm *mm, u64 va, const void *src, u64 n) { return copy(mm, va, (u8 *)(uptr)src, n, ACC_WRITE); }

int copy_from_user(struct mm *mm, void *dst, u64 va, u64 n) { return copy(mm, va, dst, n, ACC_READ); }
