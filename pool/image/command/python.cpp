// See python.h.
#include "pool/image/command/python.h"

#include <algorithm>

#include "pool/image/command/places.h"
#include "pool/image/files.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

// sys.stdlib_module_names of python 3.11, without those of other systems.
constexpr std::string_view kStandard =
    " __future__ _abc _aix_support _ast _asyncio _bisect _blake2 _bootsubprocess _bz2 _codecs "
    "_codecs_cn _codecs_hk _codecs_iso2022 _codecs_jp _codecs_kr _codecs_tw _collections "
    "_collections_abc _compat_pickle _compression _contextvars _crypt _csv _ctypes _curses "
    "_curses_panel _datetime _dbm _decimal _elementtree _frozen_importlib "
    "_frozen_importlib_external _functools _gdbm _hashlib _heapq _imp _io _json _locale _lsprof "
    "_lzma _markupbase _md5 _multibytecodec _multiprocessing _opcode _operator _osx_support "
    "_pickle _posixshmem _posixsubprocess _py_abc _pydecimal _pyio _queue _random _sha1 _sha256 "
    "_sha3 _sha512 _signal _sitebuiltins _socket _sqlite3 _sre _ssl _stat _statistics _string "
    "_strptime _struct _symtable _thread _threading_local _tkinter _tokenize _tracemalloc "
    "_typing _uuid _warnings _weakref _weakrefset _zoneinfo abc aifc antigravity argparse array "
    "ast asynchat asyncio asyncore atexit audioop base64 bdb binascii bisect builtins bz2 "
    "cProfile calendar cgi cgitb chunk cmath cmd code codecs codeop collections colorsys "
    "compileall concurrent configparser contextlib contextvars copy copyreg crypt csv ctypes "
    "curses dataclasses datetime dbm decimal difflib dis distutils doctest email encodings "
    "ensurepip enum errno faulthandler fcntl filecmp fileinput fnmatch fractions ftplib "
    "functools gc genericpath getopt getpass gettext glob graphlib grp gzip hashlib heapq hmac "
    "html http idlelib imaplib imghdr imp importlib inspect io ipaddress itertools json keyword "
    "lib2to3 linecache locale logging lzma mailbox mailcap marshal math mimetypes mmap "
    "modulefinder multiprocessing netrc nis nntplib ntpath nturl2path numbers opcode operator "
    "optparse os ossaudiodev pathlib pdb pickle pickletools pipes pkgutil platform plistlib "
    "poplib posix posixpath pprint profile pstats pty pwd py_compile pyclbr pydoc pydoc_data "
    "pyexpat queue quopri random re readline reprlib resource rlcompleter runpy sched secrets "
    "select selectors shelve shlex shutil signal site smtpd smtplib sndhdr socket socketserver "
    "spwd sqlite3 sre_compile sre_constants sre_parse ssl stat statistics string stringprep "
    "struct subprocess sunau symtable sys sysconfig syslog tabnanny tarfile telnetlib tempfile "
    "termios textwrap this threading time timeit tkinter token tokenize tomllib trace traceback "
    "tracemalloc tty turtle turtledemo types typing unicodedata unittest urllib uu uuid venv "
    "warnings wave weakref webbrowser wsgiref xdrlib xml xmlrpc zipapp zipfile zipimport zlib "
    "zoneinfo ";

std::string version_in(const std::string& name) {
  constexpr std::size_t kPrefix = std::string_view("python").size();
  return name.starts_with("python") ? name.substr(kPrefix) : "";
}

Result<void> check_version(const std::string& what, const std::string& version) {
  const bool any = version.empty() || version == "3";
  if (any || is_image_version(version)) return {};
  return fail(what + ": images have python " + std::string(kPythonVersion) + ", not " + version +
              ": write python3 to run with that");
}

// What an installation brings along by itself.
bool is_usual_package(const std::string& name) {
  for (const char* usual : {"pip", "setuptools", "wheel", "_distutils_hack", "distutils-precedence",
                            "pkg_resources", "README", "__pycache__"}) {
    if (name.starts_with(usual)) return true;
  }
  return false;
}

bool has_own_packages(const fs::path& installation) {
  const fs::path packages =
      installation / "lib" / ("python" + std::string(kPythonVersion)) / "site-packages";
  return std::ranges::any_of(list_directory(packages), [](const fs::path& entry) {
    return !is_usual_package(entry.filename().string());
  });
}

}  // namespace

bool is_image_version(std::string_view version) {
  return version == kPythonVersion || version.starts_with(std::string(kPythonVersion) + ".");
}

Result<void> check_python(const std::string& name, const fs::path& written) {
  const std::string what = written.empty() ? name : written.string();
  if (Result<void> done = check_version(what, version_in(name)); !done) return done;
  if (written.empty() || is_system(written)) return {};
  std::error_code code;
  const fs::path real = fs::canonical(written, code);
  if (code) return fail(what + ": " + code.message());
  if (Result<void> done = check_version(what, version_in(real.filename().string())); !done) {
    return done;
  }
  if (is_system(real) || !has_own_packages(real.parent_path().parent_path())) return {};
  return fail(what +
              ": this installation has packages of its own, which images have not: make an "
              "environment with " +
              what + " -m venv DIR, install them there, and name its python");
}

bool is_standard_module(const std::string& module) {
  return kStandard.contains(" " + module.substr(0, module.find('.')) + " ");
}

bool has_module(const fs::path& directory, const std::string& module) {
  const std::string first = module.substr(0, module.find('.'));
  std::error_code code;
  if (first.empty() || first.find('/') != std::string::npos) return false;
  if (fs::is_directory(directory / first, code)) return true;
  return fs::is_regular_file(directory / (first + ".py"), code) ||
         fs::is_regular_file(directory / (first + ".pyc"), code);
}

}  // namespace thimble::image
