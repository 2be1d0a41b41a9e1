# shellcheck shell=sh
# gateway.sh: shell functions for scripts on the host that create sessions for containers. Source it; it runs nothing.
#
# Names, arguments, variables and return codes are those of foundry-sandbox's lib/gateway.sh, with credgate's control
# socket. One thing differs: destroy_gateway_session checks the HTTP status, so a refusal is a failure. Needs curl, sed,
# tr, head and docker or podman, but neither jq nor python. POSIX sh; works under `set -eu`. Names that begin with
# _gateway are private. Secrets are only in pipes and shell variables: never in an argument, which every user of the
# host can read, and never in a file of the host.
#
# Environment: GATEWAY_SOCKET_PATH         the control socket
#              GATEWAY_URL                 without the former: the URL of a control API that you published on TCP
#              GATEWAY_SESSION_MGMT_KEY    required with GATEWAY_URL; sent as X-Session-Mgmt-Key
#              (neither of the first two)  /run/credgate/control.sock, if it exists
#              CONTAINER_RUNTIME           docker or podman (default: the installed one; docker if both are)
#              COMPOSE_PROJECT_NAME        the compose project (default: that of the container)
#              GATEWAY_TOKEN_OWNER         UID:GID of the sandbox's user (1000:1000)

command -v log_error > /dev/null 2>&1 || log_error() { printf 'credgate: error: %s\n' "$*" >&2; }
command -v log_warn > /dev/null 2>&1 || log_warn() { printf 'credgate: warning: %s\n' "$*" >&2; }
command -v log_info > /dev/null 2>&1 || log_info() { printf 'credgate: %s\n' "$*" >&2; }
command -v log_debug > /dev/null 2>&1 || log_debug() { [ "${SANDBOX_DEBUG:-}" != 1 ] || printf 'credgate: %s\n' "$*" >&2; }

_gateway_newline='
'

# Set _gateway_cli to docker or podman.
_gateway_find_runtime() {
    for _gateway_cli in ${CONTAINER_RUNTIME:-docker podman}; do
        ! command -v "$_gateway_cli" > /dev/null 2>&1 || return 0
    done
    log_error "${CONTAINER_RUNTIME:-neither docker nor podman} was not found; set CONTAINER_RUNTIME"
    return 1
}

# Run docker or podman with these arguments.
_gateway_runtime() {
    _gateway_find_runtime && "$_gateway_cli" "$@"
}

# Print at most 200 characters of the input on one line, with special characters replaced by spaces. A hostile container
# could send control sequences to the operator's terminal, and echo of some shells creates them from backslashes.
_gateway_plain() {
    head -c 200 | LC_ALL=C tr -c "A-Za-z0-9 ._:/,()=@'-" ' '
}

# Set _gateway_way to the curl configuration for the control API. Returns 1 if no address of it is known.
_gateway_find() {
    _gateway_way=
    _gateway_socket=${GATEWAY_SOCKET_PATH:-}
    if [ -z "$_gateway_socket" ] && [ -z "${GATEWAY_URL:-}" ] && [ -S /run/credgate/control.sock ]; then
        _gateway_socket=/run/credgate/control.sock
    fi
    if [ -n "$_gateway_socket" ]; then
        case $_gateway_socket in
            *[!A-Za-z0-9._/@:+=~,-]*)
                log_error "GATEWAY_SOCKET_PATH contains an invalid character: $_gateway_socket"
                return 1
                ;;
        esac
        _gateway_base=http://localhost
        _gateway_way="unix-socket = \"$_gateway_socket\""
        _gateway_place=$_gateway_socket
        return 0
    fi
    _gateway_find_tcp
}

_gateway_find_tcp() {
    case ${GATEWAY_URL:-} in
        '') return 1 ;;
        *[!A-Za-z0-9._/:-]*) ;;
        http://?* | https://?*)
            if [ -z "${GATEWAY_SESSION_MGMT_KEY:-}" ]; then
                log_error 'GATEWAY_URL needs GATEWAY_SESSION_MGMT_KEY: a control API on TCP must be protected'
                return 1
            fi
            case $GATEWAY_SESSION_MGMT_KEY in
                *[!A-Za-z0-9+/=_.~-]*)
                    log_error 'GATEWAY_SESSION_MGMT_KEY contains an invalid character (create one: openssl rand -base64 32)'
                    return 1
                    ;;
            esac
            _gateway_base=${GATEWAY_URL%/}
            _gateway_way="header = \"X-Session-Mgmt-Key: $GATEWAY_SESSION_MGMT_KEY\""
            _gateway_place=$_gateway_base
            return 0
            ;;
    esac
    log_error "GATEWAY_URL must be http://HOST:PORT or https://HOST:PORT, not $GATEWAY_URL"
    return 1
}

# _gateway_ask METHOD PATH [JSON]: sets _gateway_body and _gateway_status. Returns 1 without an answer.
# curl reads the whole request from its standard input, so that no secret is an argument.
_gateway_ask() {
    _gateway_body=
    _gateway_status=000
    _gateway_find || return 1
    _gateway_answer=$(
        {
            printf 'url = "%s%s"\nrequest = "%s"\n%s\n' "$_gateway_base" "$2" "$1" "$_gateway_way"
            printf 'silent\nshow-error\nglobeoff\nnoproxy = "*"\nmax-time = 20\nwrite-out = "\\n%%{http_code}"\n'
            [ -z "${3:-}" ] || printf 'header = "Content-Type: application/json"\ndata = "%s"\n' \
                "$(printf '%s' "$3" | sed 's/"/\\"/g')"
        } | curl --disable --config -
    ) || return 1
    _gateway_status=${_gateway_answer##*"$_gateway_newline"}
    _gateway_body=${_gateway_answer%"$_gateway_newline"*}
}

# _gateway_text KEY: prints the value of this key in _gateway_body, if it has only characters of tokens and statuses.
_gateway_text() {
    printf '%s\n' "$_gateway_body" | sed -n "s/^[^{]*{\(.*, *\)\{0,1\}\"$1\": *\"\([A-Za-z0-9_-]*\)\".*/\2/p"
}

# Print the reason of a refusal. The gateway's messages contain no secret.
_gateway_reason() {
    _gateway_said=$(printf '%s\n' "$_gateway_body" | sed -n 's/.*"error": *"\(.*\)"}.*/\1/p')
    printf 'HTTP %s%s' "$_gateway_status" "${_gateway_said:+: $_gateway_said}" | _gateway_plain
}

_gateway_is_name() {
    case $1 in
        '' | *[!A-Za-z0-9_.-]*) return 1 ;;
    esac
}

# Set _gateway_repos to the elements of a JSON list for a comma-separated list of owner/repo.
_gateway_list_repos() {
    _gateway_repos=
    _gateway_rest=$1,
    while [ -n "$_gateway_rest" ]; do
        _gateway_repo=${_gateway_rest%%,*}
        _gateway_rest=${_gateway_rest#*,}
        case $_gateway_repo in
            '') continue ;;
            *[!A-Za-z0-9_./*-]*)
                log_error "invalid repository: $_gateway_repo"
                return 1
                ;;
        esac
        _gateway_repos="$_gateway_repos${_gateway_repos:+, }\"$_gateway_repo\""
    done
}

# create_gateway_session CONTAINER_ID CONTAINER_IP [OWNER/REPO,...]: sets GATEWAY_TOKEN and GATEWAY_SECRET.
create_gateway_session() {
    GATEWAY_TOKEN=
    GATEWAY_SECRET=
    if ! _gateway_is_name "${1:-}"; then
        log_error 'create_gateway_session: a container id of letters, digits, "_", "." and "-" is required'
        return 1
    fi
    case ${2:-} in
        '' | *[!0-9A-Fa-f.:]*)
            log_error 'create_gateway_session: the address of the container is required'
            return 1
            ;;
    esac
    _gateway_list_repos "${3:-}" || return 1
    [ -n "$_gateway_repos" ] || log_warn "no repository given: the session of $1 grants nothing"
    if ! _gateway_ask POST /session/create \
        "{\"container_ip\": \"$2\", \"container_id\": \"$1\", \"repos\": [$_gateway_repos]}"; then
        log_error 'create_gateway_session: the gateway cannot be reached (set GATEWAY_SOCKET_PATH to its control socket)'
        return 1
    fi
    if [ "$_gateway_status" != 201 ]; then
        log_error "create_gateway_session: $(_gateway_reason)"
        return 1
    fi
    GATEWAY_TOKEN=$(_gateway_text token)
    GATEWAY_SECRET=$(_gateway_text secret)
    _gateway_body=
    _gateway_answer=
    if [ -z "$GATEWAY_TOKEN" ] || [ -z "$GATEWAY_SECRET" ]; then
        log_error 'create_gateway_session: the answer is not from credgate'
        return 1
    fi
    log_debug "created a session for $1"
}

# destroy_gateway_session TOKEN: returns 0 only if the gateway revoked the session.
destroy_gateway_session() {
    case ${1:-} in
        '' | *[!A-Za-z0-9_-]*)
            log_error 'destroy_gateway_session: the token of a session is required'
            return 1
            ;;
    esac
    if ! _gateway_ask DELETE "/session/$1"; then
        log_error 'destroy_gateway_session: the gateway cannot be reached'
        return 1
    fi
    if [ "$_gateway_status" != 200 ]; then
        log_error "destroy_gateway_session: $(_gateway_reason)"
        return 1
    fi
}

# wait_for_gateway_health [SECONDS]: checks the gateway once a second, for 30 seconds by default.
# shellcheck disable=SC2120 # the argument is for callers in other scripts
wait_for_gateway_health() {
    _gateway_left=${1:-30}
    while :; do
        if _gateway_ask GET /health 2> /dev/null && [ "$(_gateway_text status)" = healthy ]; then
            return 0
        fi
        [ "$_gateway_left" -gt 0 ] || break
        _gateway_left=$((_gateway_left - 1))
        sleep 1
    done
    if _gateway_find; then
        log_error "the gateway at $_gateway_place does not answer; check its log ('compose logs gateway')"
        log_error 'and that this user may use its socket (control.allow_uids)'
    else
        log_error 'the address of the gateway is not known: set GATEWAY_SOCKET_PATH to its control socket'
    fi
    return 1
}

# The script that runs in the container. It renames a complete file, so an existing link is replaced and not followed.
# shellcheck disable=SC2016 # the variables are those of the container's shell
_gateway_writer='
umask 077
folder=/run/secrets
[ -d "$folder" ] || mkdir -m 0755 "$folder" || exit 1
draft=$(mktemp "$folder/.gateway_token.XXXXXX") || exit 1
trap '\''rm -f "$draft"'\'' EXIT
cat > "$draft" && [ -s "$draft" ] || exit 1
[ "$(id -u):$(id -g)" = "$1" ] || chown "$1" "$draft" || exit 1
chmod 0400 "$draft" && mv -f "$draft" "$folder/gateway_token" || exit 1
stat -c %a "$folder/gateway_token"
'

# Print the mode of the written file as reported by the container. The rest of its output is not read.
_gateway_write_as() {
    {
        printf '%s:%s\n' "$3" "$4" |
            _gateway_runtime exec -i -u "$1" "$2" sh -c "$_gateway_writer" sh "$_gateway_owner" || printf ' failed'
    } | head -c 16
}

# Print the error output of the container runtime or of the container.
_gateway_print_error() {
    _gateway_said=$(_gateway_plain)
    [ -z "$_gateway_said" ] || log_warn "output of $1: $_gateway_said" >&2
}

# write_gateway_token_to_container CONTAINER_ID TOKEN SECRET: /run/secrets/gateway_token, one line, mode 0400.
# Written by root. If root in the container may not change owners (cap_drop: ALL), written by the sandbox's user.
write_gateway_token_to_container() {
    if ! _gateway_is_name "${1:-}" || [ -z "${2:-}" ] || [ -z "${3:-}" ]; then
        log_error 'write_gateway_token_to_container: container id, token and secret are required'
        return 1
    fi
    _gateway_owner=${GATEWAY_TOKEN_OWNER:-1000:1000}
    _gateway_mode=$(_gateway_write_as 0 "$@" 2> /dev/null) || :
    case $_gateway_mode in
        *failed)
            # Standard error goes to _gateway_print_error; standard output is the mode.
            _gateway_mode=$(
                { _gateway_write_as "$_gateway_owner" "$@" 2>&1 >&3 3>&- | _gateway_print_error "$1"; } 3>&1
            ) || :
            ;;
    esac
    case $_gateway_mode in
        400) return 0 ;;
        [0-7][0-7][0-7] | [0-7][0-7][0-7][0-7]) _gateway_mode=": mode $_gateway_mode" ;;
        *) _gateway_mode= ;;
    esac
    log_error "the session could not be written to /run/secrets/gateway_token in $1$_gateway_mode"
    return 1
}

# get_container_ip CONTAINER_ID [NETWORK]: prints the address in this network (credential-isolation). Returns 1 if it
# has none.
get_container_ip() {
    if ! _gateway_is_name "${1:-}" || ! _gateway_is_name "${2:-credential-isolation}"; then
        log_error 'get_container_ip: a container id is required'
        return 1
    fi
    _gateway_form="{{with index .NetworkSettings.Networks \"${2:-credential-isolation}\"}}{{.IPAddress}}{{end}}"
    _gateway_address=$(_gateway_runtime inspect -f "$_gateway_form" "$1" 2> /dev/null) || return 1
    case $_gateway_address in
        '' | *[!0-9A-Fa-f.:]*) return 1 ;;
    esac
    printf '%s\n' "$_gateway_address"
}

# Print the compose project of a container.
_gateway_project() {
    if [ -n "${COMPOSE_PROJECT_NAME:-}" ]; then
        printf '%s\n' "$COMPOSE_PROJECT_NAME"
        return
    fi
    _gateway_runtime inspect -f '{{index .Config.Labels "com.docker.compose.project"}}' "$1" 2> /dev/null
}

# Print the address in a network whose name ends with a number, such as those of a second and third sandbox.
_gateway_numbered_ip() {
    # shellcheck disable=SC2016 # variables of the template
    _gateway_form='{{range $name, $net := .NetworkSettings.Networks}}{{$name}} {{$net.IPAddress}}{{"\n"}}{{end}}'
    _gateway_runtime inspect -f "$_gateway_form" "$1" 2> /dev/null |
        sed -n 's/^\(.*_\)\{0,1\}credential-isolation-[0-9]* \([0-9A-Fa-f.:]\{2,\}\)$/\2/p' | sed 1q
}

# setup_gateway_session CONTAINER_ID [OWNER/REPO,...]: creates a session and writes its secret to the container. If that
# fails, the session is revoked.
setup_gateway_session() {
    if ! _gateway_is_name "${1:-}"; then
        log_error 'setup_gateway_session: a container id is required'
        return 1
    fi
    _gateway_find_runtime || return 1
    # shellcheck disable=SC2119 # the default time
    wait_for_gateway_health || return 1
    _gateway_ip=$(get_container_ip "$1") ||
        _gateway_ip=$(get_container_ip "$1" "$(_gateway_project "$1")_credential-isolation") ||
        _gateway_ip=$(_gateway_numbered_ip "$1") || _gateway_ip=
    if [ -z "$_gateway_ip" ]; then
        log_error "the container $1 has no address in the network credential-isolation"
        return 1
    fi
    create_gateway_session "$1" "$_gateway_ip" "${2:-}" || return 1
    if ! write_gateway_token_to_container "$1" "$GATEWAY_TOKEN" "$GATEWAY_SECRET"; then
        destroy_gateway_session "$GATEWAY_TOKEN" || log_warn 'the new session could not be revoked'
        GATEWAY_TOKEN=
        GATEWAY_SECRET=
        return 1
    fi
    log_info "$1 has a session${2:+ for $2}"
}

# Print the ids of the sessions of this container.
_gateway_sessions_of() {
    _gateway_ask GET /v1/sessions || return 1
    [ "$_gateway_status" = 200 ] || return 1
    _gateway_label=$(printf '%s' "$1" | sed 's/\./\\./g')
    printf '%s\n' "$_gateway_body" | tr '{' '\n' |
        sed -n "s/^\"id\": *\"\(s-[0-9a-f]*\)\", *\"label\": *\"$_gateway_label\".*/\1/p"
}

# cleanup_gateway_session CONTAINER_ID: revokes the container's sessions. Always returns 0; prints nothing without a
# gateway. The sessions are found by their label, so the container need not exist. If it was set up with another name,
# its token is read from the container.
cleanup_gateway_session() {
    _gateway_is_name "${1:-}" || return 0
    _gateway_find 2> /dev/null || return 0
    _gateway_revoked=
    for _gateway_session in $(_gateway_sessions_of "$1" 2> /dev/null); do
        _gateway_revoked=yes
        if ! _gateway_ask DELETE "/v1/sessions/$_gateway_session" || [ "$_gateway_status" != 200 ]; then
            log_warn "the session $_gateway_session could not be revoked: $(_gateway_reason)"
        fi
    done
    [ -z "$_gateway_revoked" ] || return 0
    _gateway_token=$(_gateway_runtime exec -u "${GATEWAY_TOKEN_OWNER:-1000:1000}" "$1" \
        cat /run/secrets/gateway_token 2> /dev/null | head -c 200) || return 0
    _gateway_token=${_gateway_token%%:*}
    [ -z "$_gateway_token" ] || destroy_gateway_session "$_gateway_token" || log_warn "the session of $1 could not be revoked"
    return 0
}

# get_gateway_host_port PROJECT: prints the port of the host on which the gateway's port 8080 is published.
get_gateway_host_port() {
    _gateway_runtime port "${1:-}-gateway-1" 8080 2> /dev/null | sed -n '1s/^.*:\([0-9]\{1,5\}\)$/\1/p'
}

# setup_gateway_url PROJECT: sets GATEWAY_URL if the control API is published on TCP. With the socket it does nothing.
setup_gateway_url() {
    [ -z "${GATEWAY_SOCKET_PATH:-}" ] || return 0
    [ ! -S /run/credgate/control.sock ] || return 0
    _gateway_port=$(get_gateway_host_port "${1:-}")
    [ -n "$_gateway_port" ] || return 1
    GATEWAY_URL=http://127.0.0.1:$_gateway_port
    export GATEWAY_URL
}
