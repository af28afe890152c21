# bash completion for thimble. Subcommands and options are those that `thimble --help` and
# `thimble SUBCOMMAND --help` name, so it fits whichever thimble is on the PATH.

# What a help text shows of subcommands, verbs and options: its usage and its tables, not its prose.
_thimble_subcommands() { sed -n '/^Subcommands:/,/^$/s/^  \([a-z-]*\) .*/\1/p' <<<"$1"; }
_thimble_verbs() { # HELP SUBCOMMAND
  sed -n "s/^\(Usage:\|      \) thimble $2 \([a-z|]*\)\( .*\)\{0,1\}$/\2/p" <<<"$1" | tr '|' '\n'
}
_thimble_options() {
  grep -E '^(Usage:|      ) thimble |^ +-' <<<"$1" |
    sed -E '/^ +-/s/^ +(-[A-Za-z],)?(--[a-z-]+).*/\2/' | grep -oE -- '--[a-z][a-z-]+' | sort -u
}

_thimble_names() { # of launched VMs
  thimble status --json 2>/dev/null | sed -n '/"launched"/,/\]/s/.*"name": "\([^"]*\)".*/\1/p'
}

# Where the user's own command begins, if it does before the cursor.
_thimble_command_begins() {
  local i
  for ((i = 2; i < COMP_CWORD; ++i)); do
    [[ ${COMP_WORDS[i]} == -- ]] && echo $((i + 1)) && return
  done
}

_thimble() {
  local word=${COMP_WORDS[COMP_CWORD]} sub=${COMP_WORDS[1]} help begins words
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    words="$(_thimble_subcommands "$(thimble --help 2>/dev/null)") --help --version"
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    return
  fi
  begins=$(_thimble_command_begins)
  if [[ -n $begins ]]; then
    if declare -F _command_offset >/dev/null; then
      _command_offset "$begins"
    else
      COMPREPLY=($(compgen -A file -- "$word"))
      ((COMP_CWORD > begins)) || COMPREPLY+=($(compgen -c -- "$word"))
    fi
    return
  fi
  help=$(thimble "$sub" --help 2>/dev/null)
  words=$(_thimble_verbs "$help" "$sub")
  if [[ -n $words ]] && ((COMP_CWORD > 2)); then
    help=$(thimble "$sub" "${COMP_WORDS[2]}" --help 2>/dev/null)
    [[ $help != *"[run options]"* ]] || help+=$'\n'$(thimble run --help 2>/dev/null)
  fi
  if [[ $word == -* ]]; then
    COMPREPLY=($(compgen -W "$(_thimble_options "$help")" -- "$word"))
  elif [[ -n $words ]] && ((COMP_CWORD == 2)); then
    COMPREPLY=($(compgen -W "$words" -- "$word"))
  elif [[ $sub == stop || $sub == logs || $sub == test || $sub == exec ]]; then
    COMPREPLY=($(compgen -W "$(_thimble_names)" -- "$word"))
  else
    COMPREPLY=($(compgen -A file -- "$word"))
  fi
}

complete -o filenames -F _thimble thimble
