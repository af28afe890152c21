// See install_driver.h.
#include "tools/cli/install_driver.h"

#include <nlohmann/json.hpp>

#include "tools/image/guest_root.h"
#include "tools/image/npm_commands.h"

namespace thimble::cli {

namespace {

// What runs in the guest, after `places`, `app`, `outcome` and `noneEndedWell`. As npm does it:
// dependencies before those that need them, three scripts for each package, with the commands of
// the packages in PATH.
constexpr const char* kDriver = R"js(
const {spawnSync} = require('child_process');
const fs = require('fs');
const path = require('path');
const bin = '/tmp/thimble-bin';
const read = (dir) => {
  try { return JSON.parse(fs.readFileSync(path.join(dir, 'package.json'), 'utf8')); } catch { return {}; }
};
const link = (dir) => {
  const {name = '', bin: bins = {}} = read(dir);
  for (const [command, file] of Object.entries(typeof bins === 'string' ? {[name]: bins} : bins)) {
    try {
      fs.chmodSync(path.join(dir, file), 0o755);
      fs.symlinkSync(path.join(dir, file), path.join(bin, path.basename(command)));
    } catch {}
  }
};
const walk = (modules) => {
  for (const entry of fs.readdirSync(modules, {withFileTypes: true})) {
    const dir = path.join(modules, entry.name);
    if (!entry.isDirectory()) continue;
    if (entry.name[0] === '@') { walk(dir); continue; }
    link(dir);
    if (fs.existsSync(path.join(dir, 'node_modules'))) walk(path.join(dir, 'node_modules'));
  }
};
const ended = {};
const run = (place) => {
  const dir = path.join(app, place);
  const {scripts = {}, name, version} = read(dir);
  if (!scripts.install && !scripts.preinstall && fs.existsSync(path.join(dir, 'binding.gyp')))
    scripts.install = 'node-gyp rebuild';
  ended[place] = 0;
  for (const event of ['preinstall', 'install', 'postinstall']) {
    if (!scripts[event] || ended[place] !== 0) continue;
    console.error(`${name}: ${event}: ${scripts[event]}`);
    const {status, signal} = spawnSync('/bin/sh', ['-c', scripts[event]], {cwd: dir, stdio: ['ignore', 2, 2],
      env: {...process.env, PATH: `${bin}:${process.env.PATH}`, INIT_CWD: app, npm_config_user_agent: 'npm',
        npm_lifecycle_event: event, npm_lifecycle_script: scripts[event], npm_package_name: name,
        npm_package_version: version, npm_package_json: path.join(dir, 'package.json'),
        npm_node_execpath: process.execPath, NODE: process.execPath}});
    ended[place] = status ?? signal;
    if (status !== 0) console.error(`${name}: ${event} ended with ${status ?? signal}`);
  }
};
const seen = new Set();
const visit = (place) => {
  if (seen.has(place)) return;
  seen.add(place);
  const {dependencies = {}, optionalDependencies = {}} = read(path.join(app, place));
  for (const name of Object.keys({...dependencies, ...optionalDependencies})) {
    for (let above = place + '/'; above !== null;) {
      const found = `${above}node_modules/${name}`;
      if (fs.existsSync(path.join(app, found))) { visit(found); break; }
      const end = above.lastIndexOf('node_modules/');
      above = above === '' ? null : above.slice(0, Math.max(end, 0));
    }
  }
  if (places.includes(place)) run(place);
};
fs.mkdirSync(bin, {recursive: true});
walk(path.join(app, 'node_modules'));
places.forEach(visit);
if (!Object.values(ended).includes(0)) process.exit(noneEndedWell);
fs.writeFileSync('/' + outcome, JSON.stringify(ended));
const own = ['dev', 'proc', 'sys', 'run', 'tmp', 'mnt'];
const top = fs.readdirSync('/').filter((name) => !own.includes(name));
process.exitCode = spawnSync('tar', ['-c', '-f', '-', ...top], {cwd: '/', stdio: ['ignore', 1, 2]}).status ?? 1;
)js";

}  // namespace

std::string install_driver(const nlohmann::json& scripts) {
  nlohmann::json places = nlohmann::json::array();
  for (const auto& [place, script] : scripts.items()) places.push_back(place);
  return "const places = " + places.dump(-1, ' ', true) + ";\nconst app = '" + image::kGuestApp +
         "', outcome = '" + image::kScriptOutcome +
         "', noneEndedWell = " + std::to_string(kNoScriptEndedWell) + ";\n" + kDriver;
}

}  // namespace thimble::cli
