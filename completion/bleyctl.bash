# SPDX-License-Identifier: BSD-3-Clause
# bash completion for bleyctl. Commands and options are those that the program's own help names.

_bleyctl() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command='' help words='' files='' i
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-c | --config) i=$((i + 1)) ;;
		-*) ;;
		*) command=${COMP_WORDS[i]} && break ;;
		esac
	done
	help=$("${COMP_WORDS[0]}" ${command:+"$command"} --help 2>/dev/null)
	case $prev in
	-c | --config | --whitelist) files=yes ;;
	--status) words="grey clean listed" ;;
	--since) words="1h 24h 7d" ;;
	*)
		# nobody can guess the other options' values
		[[ $prev = --* ]] && grep -qE -- "^  $prev [A-Z]" <<<"$help" && COMPREPLY=() && return
		words=$(grep -oE '^  (-., )?--[a-z-]+' <<<"$help" | grep -oE -- '--[a-z-]+')
		case $command in
		'') words+=" $(sed -n '/^Commands/,$s/^  \([a-z]*\) .*/\1/p' <<<"$help")" ;;
		import) words+=" postgrey sqlgrey gld" files=yes ;;
		test) files=yes ;;
		esac
		;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
	if [ -n "$files" ] && [ ${#COMPREPLY[@]} -eq 0 ]; then
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
	fi
}
complete -F _bleyctl bleyctl
