#include "coordinator/etcd_client.hpp"

#include <curl/curl.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "coordinator/base64.hpp"

namespace ballast {
namespace {

using json = nlohmann::json;

// gRPC's codes, as the gateway tells them.
enum class grpc : int { unknown = 2, invalid_argument = 3, not_found = 5, exhausted = 8 };

// The gateway writes 64-bit numbers as text.
std::int64_t number(const json& in, const char* key) {
  const auto found = in.find(key);
  if (found == in.end()) return 0;
  return found->is_string() ? std::stoll(found->get<std::string>()) : found->get<std::int64_t>();
}

std::string bytes(const json& in, const char* key) {
  const auto found = in.find(key);
  if (found == in.end()) return {};
  auto out = from_base64(found->get<std::string>());
  if (!out) throw std::runtime_error(fmt::format("`{}` is not base64", key));
  return std::move(*out);
}

json operation_of(const etcd_change& c) {
  if (c.value)
    return {{"request_put",
             {{"key", to_base64(c.key)}, {"value", to_base64(*c.value)}, {"lease", std::to_string(c.lease)}}}};
  json range{{"key", to_base64(c.key)}};
  if (!c.end.empty()) range["range_end"] = to_base64(c.end);
  return {{"request_delete_range", std::move(range)}};
}

error refusal(const std::string& member, const std::string& answer) {
  const auto told = json::parse(answer, nullptr, false);
  if (!told.is_object() || !told.contains("error"))
    return {errc::io,
            fmt::format("{}: the answer is not that of etcd's v3 gateway; etcd 3.4 or newer is needed", member)};
  const auto text =
      fmt::format("{}: {}", member, told["error"].is_string() ? told["error"].get<std::string>() : "refused");
  switch (static_cast<grpc>(number(told, "code"))) {
    case grpc::invalid_argument:
      return {text.find("too large") != std::string::npos ? errc::does_not_fit : errc::invalid_argument, text};
    case grpc::not_found:
      return {errc::not_found, text};
    case grpc::exhausted:
      return {errc::does_not_fit, text + "; give it more space, and have it compact its history"};
    default:
      return {errc::unavailable, text};
  }
}

std::size_t take(char* data, std::size_t size, std::size_t count, void* to) {
  static_cast<std::string*>(to)->append(data, size * count);
  return size * count;
}

struct curl_closer {
  void operator()(CURL* c) const { curl_easy_cleanup(c); }
  void operator()(curl_slist* l) const { curl_slist_free_all(l); }
};

}  // namespace

std::string end_of_prefix(std::string prefix) {
  while (!prefix.empty() && prefix.back() == '\xff') prefix.pop_back();
  if (!prefix.empty()) ++prefix.back();
  return prefix;
}

struct etcd_client::impl {
  std::vector<std::string> members;
  std::chrono::milliseconds patience;
  etcd_tls tls;
  std::size_t at = 0;  // who answered last
  std::unique_ptr<CURL, curl_closer> connection;
  std::unique_ptr<curl_slist, curl_closer> headers{curl_slist_append(nullptr, "Content-Type: application/json")};

  const char* scheme() const { return tls.ca.empty() ? "http" : "https"; }

  void open() {
    static const auto once = curl_global_init(CURL_GLOBAL_DEFAULT);  // before the first handle, by one thread
    if (once == CURLE_OK) connection.reset(curl_easy_init());
    if (!connection) return;
    CURL* c = connection.get();
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_PROXY, "");  // members are neighbours, whatever the environment says
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, scheme());
    curl_easy_setopt(c, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    if (!tls.ca.empty()) {
      curl_easy_setopt(c, CURLOPT_CAINFO, tls.ca.c_str());
      curl_easy_setopt(c, CURLOPT_CAPATH, nullptr);  // of nobody else
    }
    if (!tls.certificate.empty()) {
      curl_easy_setopt(c, CURLOPT_SSLCERT, tls.certificate.c_str());
      curl_easy_setopt(c, CURLOPT_SSLKEY, tls.key.c_str());
    }
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, static_cast<long>(patience.count()));
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers.get());
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, &take);
  }

  // One answer of one member.
  result<json> ask(const std::string& member, const char* path, const std::string& question) {
    std::string answer;
    CURL* c = connection.get();
    curl_easy_setopt(c, CURLOPT_URL, fmt::format("{}://{}{}", scheme(), member, path).c_str());
    curl_easy_setopt(c, CURLOPT_POSTFIELDS, question.data());
    curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(question.size()));
    curl_easy_setopt(c, CURLOPT_WRITEDATA, &answer);
    if (const auto failed = curl_easy_perform(c); failed != CURLE_OK)
      return fail(errc::unavailable, fmt::format("{}: {}", member, curl_easy_strerror(failed)));
    long code = 0;
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &code);
    if (code != 200) return fail(refusal(member, answer));
    auto told = json::parse(answer, nullptr, false);
    if (!told.is_object()) return fail(refusal(member, answer));
    return told;
  }

  // `read` takes the answer apart and may throw.
  template <class Read>
  auto call(const char* path, const json& question, Read read) -> result<decltype(read(question))> {
    if (!connection) open();
    if (!connection) return fail(errc::unavailable, "etcd: no HTTP client can be made; is memory left?");
    const auto text = question.dump();
    std::string refusals;
    for (std::size_t tried = 0; tried < members.size(); ++tried, at = (at + 1) % members.size()) {
      auto told = ask(members[at], path, text);
      if (!told && told.error().code == errc::unavailable) {
        refusals += (refusals.empty() ? "" : "; ") + told.error().text;
        continue;
      }
      if (!told) return fail(told.error().code, "etcd at " + told.error().text);
      try {
        return read(*told);
      } catch (const std::exception& e) {
        return fail(errc::io,
                    fmt::format("etcd at {}: {}: the answer cannot be read: {}", members[at], path, e.what()));
      }
    }
    return fail(errc::unavailable, "etcd at " + refusals);
  }
};

etcd_client::etcd_client(std::vector<std::string> members, std::chrono::milliseconds patience, etcd_tls tls)
    : impl_(std::make_unique<impl>()) {
  impl_->members = std::move(members);
  impl_->patience = patience;
  impl_->tls = std::move(tls);
}
etcd_client etcd_client::another(std::chrono::milliseconds patience) const {
  return {impl_->members, patience, impl_->tls};
}
etcd_client::~etcd_client() = default;
etcd_client::etcd_client(etcd_client&&) noexcept = default;

result<etcd_found> etcd_client::find(const etcd_selection& what) {
  json question{
      {"key", to_base64(what.key)}, {"limit", std::to_string(what.limit)}, {"revision", std::to_string(what.revision)}};
  if (!what.end.empty()) question["range_end"] = to_base64(what.end);
  if (what.keys_only) question["keys_only"] = true;
  if (what.last_first) {
    question["sort_order"] = "DESCEND";
    question["sort_target"] = "KEY";
  }
  return impl_->call("/v3/kv/range", question, [](const json& told) {
    etcd_found out;
    for (const auto& kv : told.value("kvs", json::array()))
      out.pairs.push_back({bytes(kv, "key"), bytes(kv, "value"), number(kv, "create_revision"), number(kv, "lease")});
    out.more = told.value("more", false);
    out.revision = number(told.at("header"), "revision");
    return out;
  });
}

result<etcd_committed> etcd_client::commit(const etcd_transaction& what) {
  json changes = json::array();
  for (const auto& c : what.changes) changes.push_back(operation_of(c));
  const json question{{"compare",
                       {{{"key", to_base64(what.key)},
                         {"target", "CREATE"},
                         {"result", "EQUAL"},
                         {"create_revision", std::to_string(what.created)}}}},
                      {"success", std::move(changes)}};
  return impl_->call("/v3/kv/txn", question, [](const json& told) {
    return etcd_committed{told.value("succeeded", false), number(told.at("header"), "revision")};
  });
}

result<etcd_client::lease> etcd_client::grant(std::chrono::seconds lasts) {
  return impl_->call("/v3/lease/grant", {{"TTL", std::to_string(lasts.count())}}, [](const json& told) {
    return lease{number(told, "ID"), std::chrono::seconds(number(told, "TTL"))};
  });
}

result<std::chrono::seconds> etcd_client::renew(std::int64_t id) {
  auto left = impl_->call("/v3/lease/keepalive", {{"ID", std::to_string(id)}},
                          [](const json& told) { return std::chrono::seconds(number(told.at("result"), "TTL")); });
  if (left && left->count() == 0) return fail(errc::not_found, "etcd: the lease has run out");
  return left;
}

status etcd_client::revoke(std::int64_t id) {
  return impl_->call("/v3/lease/revoke", {{"ID", std::to_string(id)}}, [](const json&) { return true; }).map([](bool) {
  });
}

}  // namespace ballast
