/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Prints where it runs and what it was given. */
#include "user.h"

int main(int argc, char **argv)
{
    struct sysinfo info;
    sysinfo(&info);
    printf("hello from %s, %llu MiB RAM, %llu user pages\n", ISA_NAME, info.ram_bytes >> 20, info.user_pages);
    for (int i = 1; i < argc; i++)
        printf("argument %d: %s\n", i, argv[i]);
    return 0;
}
