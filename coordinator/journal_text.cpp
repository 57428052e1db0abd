#include "coordinator/journal_text.hpp"

#include "coordinator/row_json_impl.hpp"

namespace ballast {

std::string text_of(const journal_record& line) {
  cluster::row_writer write([](const layer_placement&) { return std::string(); });  // no line holds a placement
  return write(line).dump(-1, ' ', false, cluster::json::error_handler_t::replace);
}

result<journal_record> journal_record_from(const std::string& text) {
  journal_record out;
  cluster::row_reader read([](const std::string&) { return layer_placement(); });
  try {
    read(cluster::json::parse(text), out);
  } catch (const std::exception& e) {
    return fail(errc::malformed, std::string("a line of the journal cannot be read: ") + e.what());
  }
  return out;
}

}  // namespace ballast
