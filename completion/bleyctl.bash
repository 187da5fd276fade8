# SPDX-License-Identifier: BSD-3-Clause
# bash completion for bleyctl. Commands and options are those that the program's own help names.

_bleyctl() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command= i words
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-c | --config) i=$((i + 1)) ;;
		-*) ;;
		*) command=${COMP_WORDS[i]} && break ;;
		esac
	done
	case $prev in
	-c | --config) words= ;;
	--status) words="grey clean listed" ;;
	--since) words="1h 24h 7d" ;;
	--*)
		words=$("${COMP_WORDS[0]}" $command --help 2>/dev/null | sed -n "s/^  $prev [A-Z][A-Z]* .*/+/p")
		[ -n "$words" ] && COMPREPLY=() && return
		words=$("${COMP_WORDS[0]}" $command --help 2>/dev/null | grep -oE '(^|[ ,])--[a-z-]+')
		;;
	*)
		if [ -z "$command" ]; then
			words=$("${COMP_WORDS[0]}" --help 2>/dev/null | sed -n '/^Commands/,$s/^  \([a-z]*\) .*/\1/p')
			words+=" --config --help --version"
		else
			words=$("${COMP_WORDS[0]}" $command --help 2>/dev/null | grep -oE '^  (-., )?--[a-z-]+' | grep -oE -- '--[a-z-]+')
		fi
		;;
	esac
	if [ -n "$words" ] && [ "$prev" != -c ]; then
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
	fi
	if [ ${#COMPREPLY[@]} -eq 0 ] && [[ $prev = -c || $prev = --config || $command = test ]]; then
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
	fi
}
complete -F _bleyctl bleyctl
