/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libunicorn, resolved from the wheel's own shared library, so that Python's `unicorn` and this unit share one copy.
 * A wrong build is refused here, or by core_selftest() once the architectures have checked their private facts.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>

#include "core.h"

struct uclib UC;
static char error_text[512];

const char *core_error(void) { return error_text; }

int core_fail(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(error_text, sizeof error_text, fmt, ap);
    va_end(ap);
    return -1;
}

void *uclib_symbol(const char *name, const char *suffix)
{
    char full[160];

    snprintf(full, sizeof full, suffix ? "%s_%s" : "%s", name, suffix);
    return dlsym(UC.handle, full);
}

int uclib_load(const char *path)
{
    unsigned major = 0, minor = 0;
    static const struct { const char *name; size_t at; } wanted[] = {
#define F(field) { "uc_" #field, offsetof(struct uclib, field) }
        F(open), F(close), F(ctl), F(emu_start), F(emu_stop), F(hook_add), F(hook_del), F(mem_map_ptr), F(mmio_map),
        F(reg_read), F(reg_write), F(context_alloc), F(context_save), F(context_restore), F(context_size),
        F(context_free), F(strerror), F(version),
#undef F
    };

    if (UC.handle)
        return 0;
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        return core_fail("cannot load libunicorn: %s", dlerror());
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        void *sym = dlsym(handle, wanted[i].name);
        if (!sym)
            return core_fail("libunicorn at %s lacks %s: not the 2.1.4 build", path, wanted[i].name);
        *(void **)((char *)&UC + wanted[i].at) = sym;
    }
    unsigned full = UC.version(&major, &minor);
    /* 2.1.4 answers 0x020104ff: major, minor, patch, "no suffix" (unicorn.h, UC_VERSION_*) */
    if (major != 2 || minor != 1 || (full >> 8 & 0xff) != 4)
        return core_fail("libunicorn %u.%u.%u found, 2.1.4 needed: pip install unicorn==2.1.4",
                         major, minor, full >> 8 & 0xff);
    UC.handle = handle;
    return 0;
}
