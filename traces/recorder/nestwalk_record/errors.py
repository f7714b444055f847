# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

"""What the user did wrong, or what is missing here: one clear line, no traceback."""


class RecordError(Exception):
    pass
