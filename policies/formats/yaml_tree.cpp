#include "policies/formats/yaml_tree.hpp"

#include <yaml.h>

#include <algorithm>
#include <charconv>
#include <vector>

namespace ballast::policies {

namespace {

constexpr std::size_t document_bytes_max = std::size_t{32} << 20;

struct input {
  byte_source& source;
  std::size_t bytes = 0;
  bool too_long = false;
};

int read_bytes(void* from, unsigned char* to, std::size_t room, std::size_t* got) {
  auto& in = *static_cast<input*>(from);
  *got = static_cast<std::size_t>(in.source.sgetn(reinterpret_cast<char*>(to), static_cast<std::streamsize>(room)));
  in.bytes += *got;
  in.too_long = in.bytes > document_bytes_max;
  return in.too_long ? 0 : 1;
}

// The library's parser and its events, freed whatever happens.
class yaml_events {
 public:
  explicit yaml_events(byte_source& source) : in_{source} {
    yaml_parser_initialize(&parser_);
    yaml_parser_set_input(&parser_, read_bytes, &in_);
  }
  yaml_events(const yaml_events&) = delete;
  yaml_events& operator=(const yaml_events&) = delete;
  ~yaml_events() {
    yaml_event_delete(&event_);
    yaml_parser_delete(&parser_);
  }
  bool next() {
    yaml_event_delete(&event_);
    return yaml_parser_parse(&parser_, &event_) != 0;
  }
  const yaml_event_t& event() const { return event_; }
  const yaml_parser_t& parser() const { return parser_; }
  bool too_long() const { return in_.too_long; }
  std::uint64_t line() const { return event_.start_mark.line + 1; }

 private:
  input in_;
  yaml_parser_t parser_{};
  yaml_event_t event_{};
};

std::string text_of(const yaml_event_t& event) {
  return {reinterpret_cast<const char*>(event.data.scalar.value), event.data.scalar.length};
}

bool take_scalar(tree_builder& tree, const yaml_event_t& event, std::uint64_t line) {
  const auto text = text_of(event);
  double value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool plain = event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
  if (plain && problem == std::errc{} && end == text.data() + text.size()) return tree.number(value, line);
  if (plain && (text.empty() || text == "~" || text == "null")) return tree.other(node::kind_t::null, {}, 0, line);
  return tree.other(node::kind_t::text, text, 0, line);
}

// Values and keys take turns within a map.
class document {
 public:
  bool take(const yaml_event_t& event, std::uint64_t line) {
    switch (event.type) {
      case YAML_MAPPING_START_EVENT:
      case YAML_SEQUENCE_START_EVENT: {
        if (key_is_next()) return tree.refuse("a key that is a list or a map");
        const bool map = event.type == YAML_MAPPING_START_EVENT;
        if (!tree.begin(map ? node::kind_t::map : node::kind_t::list, line)) return false;
        turns_.push_back(map ? turn::key : turn::none);
        return true;
      }
      case YAML_MAPPING_END_EVENT:
      case YAML_SEQUENCE_END_EVENT:
        turns_.pop_back();
        if (!tree.end()) return false;
        value_taken();
        return true;
      case YAML_SCALAR_EVENT:
        if (key_is_next()) {
          turns_.back() = turn::value;
          return tree.key(text_of(event));
        }
        if (!take_scalar(tree, event, line)) return false;
        value_taken();
        return true;
      case YAML_ALIAS_EVENT:
        return tree.refuse("an alias (*name); write the value out");
      default:
        return true;
    }
  }

  tree_builder tree;

 private:
  enum class turn : std::uint8_t { none, key, value };
  bool key_is_next() const { return !turns_.empty() && turns_.back() == turn::key; }
  void value_taken() {
    if (!turns_.empty() && turns_.back() == turn::value) turns_.back() = turn::key;
  }
  std::vector<turn> turns_;
};

}  // namespace

result<node> read_yaml(byte_source& source) {
  yaml_events events(source);
  document made;
  do {
    if (!events.next()) {
      if (source.failure()) return fail(*source.failure());
      if (events.too_long())
        return fail(errc::malformed, source.where(events.parser().mark.line + 1) +
                                         ": more than 32 MiB of YAML are no placement; name the right file");
      const auto* why = events.parser().problem;
      const auto line = std::max(events.parser().problem_mark.line, events.parser().context_mark.line) + 1;
      return fail(errc::malformed, source.where(line) + ": not YAML (" + (why == nullptr ? "no reason given" : why) +
                                       "); a placement is JSON, or TensorRT-LLM's YAML");
    }
    if (!made.take(events.event(), events.line())) {
      return fail(errc::malformed,
                  source.where(events.line()) + ": refused (" + made.tree.fault() + "); name a placement");
    }
  } while (events.event().type != YAML_STREAM_END_EVENT);
  if (source.failure()) return fail(*source.failure());
  if (!made.tree.done()) return fail(errc::malformed, source.where(1) + ": is empty; name a placement");
  return std::move(made.tree).take();
}

}  // namespace ballast::policies
