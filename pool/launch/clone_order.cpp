// See clone_order.h.
#include "pool/launch/clone_order.h"

#include <map>

#include "pool/launch/server_vm.h"
#include "pool/template/clone.h"

namespace thimble::launch {

FileResult<CloneOrder> order_clone(const TemplateStore& store, const std::string& name) {
  const TemplateId id{std::filesystem::absolute(store.folder()).string(), name};
  const std::string version = template_version(id).value_or("");
  auto opened = store.open_template(name);
  if (!opened) return std::unexpected(opened.error());
  return CloneOrder{.id = id, .version = version, .opened = std::move(*opened)};
}

Result<ServerSpec> server_of(const CloneOrder& order, const Say& say) {
  if (order.server) return *order.server;
  ServerSpec server = order.opened.facts.server;
  std::map<std::string, std::string> base;
  for (const std::string& variable : server.environment) {
    const size_t equals = variable.find('=');
    if (equals != std::string::npos) base[variable.substr(0, equals)] = variable.substr(equals + 1);
  }
  auto environment = make_environment(order.opened.facts.inherited, std::move(base), say);
  if (!environment) return std::unexpected(environment.error());
  server.environment = std::move(*environment);
  return server;
}

std::filesystem::path image_of(const CloneOrder& order) {
  const auto& disks = order.opened.facts.disks;
  return disks.empty() ? std::filesystem::path() : std::filesystem::path(disks.front().path);
}

}  // namespace thimble::launch
