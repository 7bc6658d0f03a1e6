# Types a line and Tab into an interactive shell, and prints what it made of it:
# type.zsh bash|zsh SCRIPT LINE.
zmodload zsh/zpty
typeset seen='' piece
wait-for() {
    seen=''
    repeat 600; do
        while zpty -rt z piece; do seen+=$piece; done
        [[ $seen == *$1* ]] && return 0
        sleep 0.05
    done
    print -r -- "$shell did not print $1: $seen" >&2
    exit 1
}
typeset shell=$1
# Ctrl-X prints the line as it stands, with marks by which it can be found.
case $shell in
bash)
    zpty z "TERM=dumb PS1= COLUMNS=400 LINES=100 bash --norc --noprofile -i"
    zpty -w z "stty -echo; bind 'set enable-bracketed-paste off'; source $2; bind -x '\"\\C-x\": echo \"line: \$READLINE_LINE :end\"'; echo read''y"
    ;;
zsh)
    zpty z "TERM=dumb PS1= COLUMNS=400 LINES=100 zsh -f -i"
    zpty -w z "stty -echo; autoload -Uz compinit; compinit -u -D; source $2; bindkey '^I' complete-word; show() { print -r -- \"line: \$BUFFER :end\"; BUFFER=''; zle accept-line }; zle -N show; bindkey '^X' show; print read''y"
    ;;
esac
wait-for ready
zpty -wn z "$3"$'\t\x18'
wait-for ':end'
print -r -- ${${${seen//$'\r'/}##*line: }%% :end*}
zpty -d z
