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
    CHECK_IS(dlclose(library), 0);
}

// Its threads may run for as long as the process does, so closing it does not unload it: everything goes on.
static void it_stays_loaded(void) {
    belay_ctx kept = {0};
    atomic_int runs = 0;
    for (int round = 1; round <= 100; round++) {
        void *library = dlopen(BELAY_LIBRARY, RTLD_NOW | RTLD_LOCAL);
        CHECK(library != NULL);
        if (round == 1) kept = FIND(library, belay_with_cancel)(FIND(library, belay_background)());
        CHECK_IS(FIND(library, belay_err)(kept), BELAY_OK);
        CHECK(FIND(library, belay_timer_after)(kept, 0, check_count, &runs).bits != 0);
        CHECK_IS(dlclose(library), 0);
        CHECK(dlopen(BELAY_LIBRARY, RTLD_NOW | RTLD_NOLOAD) == library);
        CHECK_IS(dlclose(library), 0);
        EVENTUALLY(atomic_load(&runs) == round);
    }
    void *library = dlopen(BELAY_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    CHECK_IS(FIND(library, belay_close)(kept), BELAY_OK);
}

int main(void) {
    static const struct check_test tests[] = {TEST(the_shared_library_works), TEST(it_stays_loaded)};
    RUN_TESTS(tests, "");
    return 0;
}
