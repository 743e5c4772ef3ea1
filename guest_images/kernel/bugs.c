/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "kernel.h"

bool bug_switch[N_BUGS];

#define BUG_NAME(id, name, text) name,
static const char *const bug_names[] = {BUG_SWITCHES(BUG_NAME)};

static void enable_one(const char *name, size_t len)
{
    for (int i = 0; i < N_BUGS; i++) {
        if (strlen(bug_names[i]) == len && memcmp(bug_names[i], name, len) == 0) {
            bug_switch[i] = true;
            return;
        }
    }
    char text[48];
    size_t n = len < sizeof text - 1 ? len : sizeof text - 1;
    memcpy(text, name, n);
    text[n] = 0;
    panic("bugs_enable: this kernel has no bug \"%s\"", text);
}

void bugs_enable(const char *names, size_t len)
{
    for (size_t i = 0, start = 0; i <= len; i++) {
        if (i < len && names[i] != ',')
            continue;
        if (i > start)
            enable_one(names + start, i - start);
        start = i + 1;
    }
}
