#include "coordinator/etcd_store.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "coordinator/base64.hpp"
#include "coordinator/etcd_lead.hpp"
#include "coordinator/journal_text.hpp"

namespace ballast {
namespace {

constexpr std::chrono::milliseconds store_patience{1000};
constexpr std::size_t piece_bytes = 256u << 10, batch_bytes = 640u << 10, batch_changes = 100, page = 256;

using changes = std::vector<etcd_change>;

std::size_t size_of(const etcd_change& c) { return c.key.size() + c.end.size() + (c.value ? c.value->size() : 0); }

// What one transaction can take, each.
std::vector<changes> batches_of(changes all) {
  std::vector<changes> out;
  std::size_t bytes = 0;
  for (auto& c : all) {
    if (out.empty() || out.back().size() == batch_changes || bytes + size_of(c) > batch_bytes) {
      out.emplace_back();
      bytes = 0;
    }
    bytes += size_of(c);
    out.back().push_back(std::move(c));
  }
  return out;
}

std::string packed(const changes& batch) {
  auto out = nlohmann::json::array();
  for (const auto& c : batch) {
    out.push_back({to_base64(c.key), to_base64(c.end)});
    if (c.value) out.back().push_back(to_base64(*c.value));
  }
  return out.dump();
}

// Throws where the text is none of the above.
changes unpacked(const std::string& text) {
  changes out;
  for (const auto& c : nlohmann::json::parse(text)) {
    const auto part = [&](std::size_t i) { return from_base64(c.at(i).get<std::string>()).value(); };
    out.push_back({part(0), c.size() > 2 ? std::optional(part(2)) : std::nullopt, part(1)});
  }
  return out;
}

class etcd_store final : public store {
 public:
  etcd_store(std::string prefix, std::unique_ptr<etcd_lead> lead, etcd_client client)
      : prefix_(std::move(prefix)), lead_(std::move(lead)), client_(std::move(client)) {}

  status open() {
    try {
      return look();
    } catch (const std::exception& e) {
      return fail(
          errc::malformed,
          fmt::format("store: what is below {} is not a coordinator's ({}); name another prefix", prefix_, e.what()));
    }
  }

  status apply(const store_change& change) override {
    if (auto ok = settle(); !ok) return ok;
    auto batches = batches_of(changes_of(change));
    if (batches.empty()) return {};
    if (auto ok = batches.size() == 1 ? commit(batches.front()) : commit_in_parts(batches); !ok) return ok;
    for (const auto& [name, value] : change.rows)
      if (value)
        pieces_[name] = pieces_in(*value);
      else
        pieces_.erase(name);
    next_line_ += change.journal.size();
    return {};
  }

  result<rows> load() override {
    if (auto ok = settle(); !ok) return fail(ok.error());
    rows out;  // the pieces of a row come in their order
    auto all = each(prefix_ + "/rows/", false, [&](const std::string& below, const etcd_pair& found) {
      out[below.substr(below.find('/') + 1)] += found.value;
    });
    if (!all) return fail(all.error());
    return out;
  }

  result<std::vector<journal_record>> journal() override {
    if (auto ok = settle(); !ok) return fail(ok.error());
    std::vector<journal_record> out;
    status read;
    auto all = each(prefix_ + "/journal/", false, [&](const std::string& below, const etcd_pair& found) {
      auto line = journal_record_from(found.value);
      if (line)
        out.push_back(std::move(*line));
      else if (read)
        read = fail(line.error().code, fmt::format("store: line {}: {}", below, line.error().text));
    });
    if (!all) return fail(all.error());
    if (!read) return fail(read.error());
    return out;
  }

  std::uint64_t term() const noexcept override { return lead_->term(); }
  possession held() const noexcept override { return lead_->held(); }

 private:
  // What is there already. Throws where it was written by somebody else.
  status look() {
    if (auto ok = settle(); !ok) return ok;
    auto known = each(prefix_ + "/rows/", true, [&](const std::string& below, const etcd_pair&) {
      const auto slash = below.find('/');
      auto& pieces = pieces_[below.substr(slash + 1)];
      pieces = std::max<std::size_t>(pieces, std::stoul(below.substr(0, slash)) + 1);
    });
    if (!known) return known;
    const auto lines = prefix_ + "/journal/";
    auto last = client_.find({lines, end_of_prefix(lines), 1, 0, true, true});
    if (!last) return fail(last.error());
    if (!last->pairs.empty()) next_line_ = std::stoull(last->pairs.front().key.substr(lines.size())) + 1;
    return {};
  }

  static std::size_t pieces_in(const std::string& value) {
    return std::max<std::size_t>(1, (value.size() + piece_bytes - 1) / piece_bytes);
  }
  std::string piece_key(std::size_t piece, const std::string& row) const {
    return fmt::format("{}/rows/{:04}/{}", prefix_, piece, row);
  }
  std::string line_key(std::uint64_t line) const { return fmt::format("{}/journal/{:020}", prefix_, line); }
  std::string redo_key() const { return prefix_ + "/redo"; }
  std::string part_key(std::size_t part) const { return fmt::format("{}/{:08}", redo_key(), part); }

  // Pieces that a row may have had stay noted until they are known to be gone.
  changes changes_of(const store_change& change) {
    changes out;
    for (const auto& [name, value] : change.rows) {
      const auto count = value ? pieces_in(*value) : 0;
      auto& had = pieces_[name];
      had = std::max({had, count, std::size_t{1}});
      for (std::size_t p = 0; p < count; ++p)
        out.push_back({piece_key(p, name), value->substr(p * piece_bytes, piece_bytes), {}});
      for (auto p = count; p < had; ++p) out.push_back({piece_key(p, name), std::nullopt, {}});
    }
    const auto after = next_line_ + change.journal.size();
    const auto oldest = after > journal_kept ? after - journal_kept : 0;
    for (std::size_t i = 0; i < change.journal.size(); ++i)
      if (next_line_ + i >= oldest) out.push_back({line_key(next_line_ + i), text_of(change.journal[i]), {}});
    if (!change.journal.empty() && oldest > 0) out.push_back({line_key(0), std::nullopt, line_key(oldest)});
    return out;
  }
  status commit(changes what) {
    auto done = client_.commit({lead_->key(), static_cast<std::int64_t>(lead_->term()), std::move(what)});
    if (!done) return fail(done.error());
    if (done->done) return {};
    lead_->lose();
    return fail(errc::fenced, fmt::format("store: term {} is over, another coordinator leads", term()));
  }

  status commit_in_parts(const std::vector<changes>& batches) {
    for (std::size_t i = 0; i < batches.size(); ++i)
      if (auto ok = commit({{part_key(i), packed(batches[i]), {}}}); !ok) return ok;
    settled_ = false;
    if (auto ok = commit({{redo_key(), std::to_string(batches.size()), {}}}); !ok) return ok;
    return settle();
  }

  // Finishes a change in parts that counts.
  status settle() {
    if (settled_) return {};
    auto begun = client_.find({redo_key()});
    if (!begun) return fail(begun.error());
    const auto count = begun->pairs.empty() ? 0 : std::stoul(begun->pairs.front().value);
    for (std::size_t i = 0; i < count; ++i) {
      auto part = client_.find({part_key(i)});
      if (!part) return fail(part.error());
      if (part->pairs.empty())
        return fail(errc::malformed, "store: " + part_key(i) + " is missing; name another prefix");
      if (auto ok = commit(unpacked(part->pairs.front().value)); !ok) return ok;
    }
    if (count > 0)
      if (auto ok = commit({{redo_key(), std::nullopt, end_of_prefix(redo_key() + "/")}}); !ok) return ok;
    settled_ = true;
    return {};
  }

  // All below `prefix` as of one moment; `take` gets what follows it, and the pair.
  template <class Take>
  status each(const std::string& prefix, bool keys_only, Take take) {
    etcd_selection next{prefix, end_of_prefix(prefix), page, 0, false, keys_only};
    for (bool more = true; more;) {
      auto found = client_.find(next);
      if (!found) return fail(found.error());
      for (const auto& pair : found->pairs) take(pair.key.substr(prefix.size()), pair);
      more = found->more && !found->pairs.empty();
      if (more) next.key = found->pairs.back().key + '\0';
      next.revision = found->revision;
    }
    return {};
  }

  const std::string prefix_;
  std::unique_ptr<etcd_lead> lead_;
  etcd_client client_;
  std::map<std::string, std::size_t> pieces_;  // of every row
  std::uint64_t next_line_ = 0;
  bool settled_ = false;
};

}  // namespace

result<etcd_address> etcd_address_of(const std::string& where) {
  constexpr std::string_view scheme = "etcd://";
  const auto rest = where.starts_with(scheme) ? where.substr(scheme.size()) : std::string();
  const auto slash = std::min(rest.find('/'), rest.size());
  etcd_address out{{}, slash + 1 < rest.size() ? rest.substr(slash + 1) : "ballast"};
  while (out.prefix.ends_with('/')) out.prefix.pop_back();
  for (std::size_t from = 0; from <= slash;) {
    const auto comma = std::min(rest.find(',', from), slash);
    out.members.push_back(rest.substr(from, comma - from));
    from = comma + 1;
  }
  for (const auto& m : out.members)
    if (const auto colon = m.rfind(':');
        colon == std::string::npos || colon == 0 || colon + 1 == m.size() || out.prefix.empty())
      return fail(errc::invalid_argument,
                  fmt::format("store = `{}`: write etcd://host:port[,host:port…][/prefix]", where));
  return out;
}

etcd_candidate::etcd_candidate(etcd_address at, std::string name, etcd_tls tls)
    : at_(std::move(at)), name_(std::move(name)), client_(at_.members, store_patience, std::move(tls)) {}

result<etcd_candidate> etcd_candidate::open(const std::string& where, std::string name, etcd_tls tls) {
  auto at = etcd_address_of(where);
  if (!at) return fail(at.error());
  for (const auto& [key, file] :
       {std::pair("store_ca", tls.ca), {"store_certificate", tls.certificate}, {"store_key", tls.key}})
    if (!file.empty() && !std::ifstream(file))
      return fail(errc::io, fmt::format("{} = `{}` cannot be read: {}", key, file, std::strerror(errno)));
  return etcd_candidate(std::move(*at), std::move(name), std::move(tls));
}

result<std::unique_ptr<store>> etcd_candidate::lead() {
  auto lead = etcd_lead::take(client_, at_.prefix + "/leader", name_);
  if (!lead) {
    if (lead.error().code != errc::conflict) return fail(lead.error());
    leader_ = lead.error().text;
    return fail(errc::conflict,
                fmt::format("store: another coordinator has it{}{}", leader_.empty() ? "" : ", that at ", leader_));
  }
  auto made = std::make_unique<etcd_store>(at_.prefix, std::move(*lead), client_.another(store_patience));
  if (auto ok = made->open(); !ok) return fail(ok.error());
  return made;
}

}  // namespace ballast
