/*
 * check.h — the one macro that the examples share: says what it expects, and ends the program where it does not hold.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * Not assert(): an example that is also a test must check in release builds too.
 */
#ifndef BELAY_EXAMPLE_CHECK_H
#define BELAY_EXAMPLE_CHECK_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* `what` is the expectation in words, for the reader; the expression is shown only when it fails. */
#define CHECK(holds, what) check_that((holds), (what), #holds, __FILE__, __LINE__)

static inline void check_that(bool holds, const char *what, const char *expression, const char *file, int line) {
    if (holds) {
        printf("  ok: %s\n", what);
        return;
    }
    fflush(stdout);
    fprintf(stderr, "%s:%d: does not hold: %s\n    %s\n", file, line, what, expression);
    exit(1);
}

#endif
