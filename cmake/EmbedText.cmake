# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

# cmake -DFILE=TEXT -DOUTPUT=SOURCE.cpp -DNAME=kName -P EmbedText.cmake: a C++ source that defines
# nestwalk::sim::kName, a std::string_view of the file.
file(READ ${FILE} text)
set(delimiter "nestwalk_text")
string(FIND "${text}" ")${delimiter}\"" place)
if(NOT place EQUAL -1)
  message(FATAL_ERROR "${FILE}: contains )${delimiter}\", which ends a string of C++")
endif()
file(WRITE ${OUTPUT} "// Of ${FILE}.
#include <string_view>

namespace nestwalk::sim {
extern const std::string_view ${NAME};
const std::string_view ${NAME} = R\"${delimiter}(${text})${delimiter}\";
}  // namespace nestwalk::sim
")
