// What sanitizers are told in a VM process, which gets no environment (tests/run has the same for
// all others): a signal stack of their own they would give back by a call that a confined thread
// may not make.

extern "C" {
const char* __asan_default_options();   // NOLINT(bugprone-reserved-identifier)
const char* __ubsan_default_options();  // NOLINT(bugprone-reserved-identifier)
const char* __asan_default_options() { return "use_sigaltstack=0"; }
const char* __ubsan_default_options() { return "print_stacktrace=1:halt_on_error=1"; }
}
