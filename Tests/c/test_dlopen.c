// SPDX-License-Identifier: Apache-2.0
//
// libbelay.so can be loaded while a program runs, next to the static library in the same program: each keeps to itself.
#include "check.h"

#include <dlfcn.h>

static void *find(void *library, const char *name) {
    void *symbol = dlsym(library, name);
    if (!symbol) fprintf(stderr, "%s\n", dlerror());
    CHECK(symbol != NULL);
    return symbol;
}
// ISO C knows no cast from an object pointer to a function pointer; POSIX does.
#define FIND(library, function) (*(__typeof__(&function) *)(void *[]){find(library, #function)})

static void the_shared_library_works(void) {
    void *library = dlopen(BELAY_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!library) fprintf(stderr, "%s\n", dlerror());
    CHECK(library != NULL);
    CHECK(FIND(library, belay_with_timeout) != belay_with_timeout);
    belay_ctx theirs = FIND(library, belay_with_timeout)(FIND(library, belay_background)(), BELAY_MS(2));
    belay_ctx ours = belay_with_cancel(belay_background());
    atomic_int runs = 0;
    CHECK(FIND(library, belay_after_func)(theirs, check_count, &runs).bits != 0);
    EVENTUALLY(atomic_load(&runs) == 1);
    CHECK_IS(FIND(library, belay_err)(theirs), BELAY_DEADLINE_EXCEEDED);
    CHECK_IS(FIND(library, belay_close)(theirs), BELAY_OK);
    check_live(ours);
    check_close(ours);
    // It stays loaded: its threads may still be there.
}

int main(void) {
    static const struct check_test tests[] = {TEST(the_shared_library_works)};
    RUN_TESTS(tests, "");
    return 0;
}
