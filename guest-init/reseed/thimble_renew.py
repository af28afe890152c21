"""Loaded at the start of Python in thimble's images (thimble.pth): in a clone, what Python keeps of
random numbers is renewed. Init sends SIGURG before the server goes on; Python runs the handler in
its main thread before the next bytecode.

  random        the shared generator and every Random() that was not given a seed
  ssl           OpenSSL's generator
  uuid          the node number and clock sequence of uuid1()

os.urandom, secrets and uuid4 ask the kernel each time and need nothing.
"""

# Only what the interpreter has loaded anyway: this runs at every start of Python.
import _signal
import sys


def _watch_random(module):
    from _weakrefset import WeakSet

    unseeded = module._thimble_unseeded = WeakSet([module._inst])
    original = module.Random.seed

    def seed(self, a=None, version=2):
        if a is None:
            unseeded.add(self)
        else:
            unseeded.discard(self)
        return original(self, a, version)

    seed.__doc__ = original.__doc__
    module.Random.seed = seed
    module.seed = module._inst.seed


class _WatchImport:
    """Finds nothing itself; sees when `random` has been imported."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "random":
            return None
        sys.meta_path.remove(_WatchImport)
        specs = (finder.find_spec(name, path, target) for finder in sys.meta_path)
        spec = next((found for found in specs if found is not None), None)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            _watch_random(module)

        spec.loader.exec_module = exec_module
        return spec


def _renew(_number, _frame):
    random = sys.modules.get("random")
    for generator in list(getattr(random, "_thimble_unseeded", ())):
        if not isinstance(generator, random.SystemRandom):
            generator.seed()
    if "ssl" in sys.modules:
        import os

        sys.modules["ssl"].RAND_add(os.urandom(32), 0.0)
    uuid = sys.modules.get("uuid")
    if uuid is not None:
        # libuuid keeps node and clock sequence where nobody reaches them: draw them here from now on.
        uuid._generate_time_safe = None
        uuid._node = uuid._random_getnode()


if "random" in sys.modules:
    _watch_random(sys.modules["random"])
else:
    sys.meta_path.insert(0, _WatchImport)

try:
    _signal.signal(_signal.SIGURG, _renew)
except ValueError:
    pass  # not the main thread: an embedded interpreter
