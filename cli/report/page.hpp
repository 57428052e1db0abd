// The page: data, style, scripts and the chart library in one HTML text that loads nothing.
#pragma once

#include <string>

#include "cli/report/page_data.hpp"

namespace ballast::report {

std::string page_of(const page_data& data);

std::string escaped_html(const std::string& text);  // for text and quoted attributes

// Files of web/ and the chart library, put into the program by cmake/embed.cmake.
namespace asset {
extern const char page_html[], style_css[], library_js[], script_js[], licences_txt[];
}

}  // namespace ballast::report
