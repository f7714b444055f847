// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "nestwalk/systemc/access_extension.hpp"

namespace nestwalk::systemc {

tlm::tlm_extension_base* AccessExtension::clone() const { return new AccessExtension(*this); }

void AccessExtension::copy_from(const tlm::tlm_extension_base& other) {
  *this = static_cast<const AccessExtension&>(other);
}

}  // namespace nestwalk::systemc
