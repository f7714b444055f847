# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

"""What the user did wrong, or what is missing here: one clear line, no traceback."""

import subprocess


class RecordError(Exception):
    pass


def exit_status(say, action):
    """Of a script: what goes wrong in the action is a line."""
    try:
        action()
    except FileExistsError as error:
        say(f"{error.filename} exists already")
        return 2
    except (RecordError, OSError, subprocess.SubprocessError) as error:
        say(str(error))
        return 2
    return 0
