// SPDX-License-Identifier: Apache-2.0
//
// A thread that counts its steps, if the processor can do that: after so many of them it stands still, as it does where
// check_hold catches it, and after so many more again. Include it first, after _GNU_SOURCE.
#ifndef STEPS_H
#define STEPS_H

#include "check.h"

// Not each test uses all of these, nor each processor.
__attribute__((unused)) static atomic_long steps, more;
// The first step that counts: any, a locked compare-and-swap (what takes a lock), or a system call.
enum first_step { ANY, LOCK, SYSTEM_CALL };
__attribute__((unused)) static atomic_int first_step;

#if defined(__x86_64__)
#include <ucontext.h>
enum { TRAP = 1 << 8 };
static inline bool is_at(const uint8_t *code, int what) {
    if (what == SYSTEM_CALL) return code[0] == 0x0f && code[1] == 0x05;
    return code[0] == 0xf0 && (code[1] == 0x0f ? code[2] : code[2] == 0x0f ? code[3] : 0) == 0xb1;
}
static inline void step(int signal, siginfo_t *info, void *context) {
    (void)info;
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs, *flags = &registers[REG_EFL];
    int first = atomic_load(&first_step);
    if (signal == SIGTRAP && first != ANY && !is_at((const uint8_t *)registers[REG_RIP], first)) return;
    if (signal == SIGTRAP) atomic_store(&first_step, ANY);
    if (signal == SIGTRAP && atomic_fetch_sub(&steps, 1) > 1) return;
    if (signal == SIGTRAP) check_stand_still(signal);
    if (signal == SIGTRAP) atomic_store(&steps, atomic_exchange(&more, 0));
    *flags = atomic_load(&steps) > 0 ? *flags | TRAP : *flags & ~TRAP;
}
static inline void count_steps(bool on) {
    struct sigaction action = {.sa_sigaction = step, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigaddset(&action.sa_mask, SIGUSR1);
    CHECK_IS(sigaction(SIGUSR1, &action, NULL), 0);
    CHECK_IS(sigaction(SIGTRAP, &action, NULL), 0);
    if (!on) atomic_store(&first_step, ANY);
    if (!on) atomic_store(&steps, 0);
    if (on && !check_is_sanitized()) CHECK_IS(pthread_kill(pthread_self(), SIGUSR1), 0);
}
#else
static inline void count_steps(bool on) { (void)on; }
#endif

#endif
