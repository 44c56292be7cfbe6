// Bytes of a guest as text that a page can hold.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace spore::gtest_runner {

// The template of the page; parts to be filled in are @@name@@.
extern const std::string_view kPageTemplate;

// UTF-8, without a terminal's colours; what is no text, or changes the order in which text is read,
// becomes a sign.
std::string visible(std::string_view bytes);
// The same for an element or an attribute.
std::string escaped(std::string_view bytes);
// JSON that a script element can hold: nothing in it ends the element or opens a comment.
std::string in_script(const nlohmann::ordered_json& value);
// What a Content-Security-Policy calls the template's own script.
std::string script_hash();

}  // namespace spore::gtest_runner
