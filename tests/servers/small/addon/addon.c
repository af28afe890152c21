// An addon for node whose needs are glibc's old libraries by name (tests/servers/small/build).
#include <mqueue.h>
#include <pty.h>
#include <resolv.h>
#include <stddef.h>
#include <stdlib.h>

typedef void* value;
int napi_create_int32(void* env, int number, value* result);
int napi_set_named_property(void* env, value object, const char* name, value property);

static const void* const needed[] = {(void*)mq_open, (void*)openpty, (void*)ns_initparse};

value napi_register_module_v1(void* env, value exports) {
  value number;
  int found = 0;
  for (size_t i = 0; i < sizeof needed / sizeof *needed; ++i) found += needed[i] != NULL;
  napi_create_int32(env, 14 * found, &number);
  napi_set_named_property(env, exports, "answer", number);
  return exports;
}
