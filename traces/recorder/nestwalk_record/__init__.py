# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

"""Records what a guest under QEMU does; see ../README.md."""
