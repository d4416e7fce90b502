# fish completion for opanel-agent(1). Written by packaging/generate from the command line's grammar; what you change here is
# lost. It runs no program.

# Prints what may follow these words, in four lines: next words, options, those of them that are valued, and operands.
function __opanel_agent_after
    set -l next
    set -l options
    set -l valued
    set -l operands
    switch "$argv"
        case ''
            set next advisories consent data dnt doctor license notice offline prove-silence reset setup status verify verify-install
            set options --version
        case 'consent'
            set next allow check deny history receipt review show why withdraw
        case 'consent allow'
            set operands crash_reports usage_statistics
        case 'consent check'
            set operands @files
        case 'consent deny'
            set options --all
            set operands crash_reports usage_statistics
        case 'consent history'
            set options --verbose -n
            set valued -n
            set operands crash_reports data_rights license_activation license_renewal license_status security_advisories usage_statistics
        case 'consent why'
            set operands crash_reports data_rights license_activation license_renewal license_status security_advisories usage_statistics
        case 'consent withdraw'
            set options --all
            set operands crash_reports usage_statistics
        case 'data'
            set next catalog export held preview purge request sent
        case 'data catalog'
            set options --verbose
            set operands crash_reports data_rights license_activation license_renewal license_status security_advisories usage_statistics
        case 'data export'
            set options --html --wait -o
            set valued --html --wait -o
        case 'data held'
            set next drop send show
            set options --wait
            set valued --wait
        case 'data held drop'
            set options --dry-run --wait
            set valued --wait
        case 'data held send'
            set options --wait
            set valued --wait
        case 'data held show'
            set options --wait
            set valued --wait
        case 'data preview'
            set options --wait
            set valued --wait
            set operands crash_reports usage_statistics
        case 'data purge'
            set options --dry-run --wait --yes
            set valued --wait
        case 'data request'
            set options --license --text --wait -o
            set valued --text --wait -o
            set operands @one access erase object rectify restrict
        case 'data sent'
            set options --verbose --wait -n
            set valued --wait -n
            set operands crash_reports data_rights license_activation license_renewal license_status security_advisories usage_statistics
        case 'dnt'
            set next explain off on
        case 'doctor'
            set options --report --verbose
        case 'license'
            set next activate install refresh release remove show verify
        case 'license activate'
            set options --wait -o
            set valued --wait -o
        case 'license install'
            set options --wait -o
            set valued --wait -o
            set operands @files
        case 'license refresh'
            set options --wait
            set valued --wait
        case 'license release'
            set options --wait -o
            set valued --wait -o
        case 'license remove'
            set options --dry-run --wait --yes
            set valued --wait
        case 'license show'
            set options --urls
        case 'license verify'
            set operands @files
        case 'offline'
            set next off on
        case 'prove-silence'
            set options --days
            set valued --days
        case 'reset'
            set options --dry-run --image -o
            set valued -o
        case 'setup'
            set options --preseed
            set valued --preseed
        case 'status'
            set options --check --metrics
        case 'verify'
            set operands @files
    end
    printf '%s\n' "$next" "$options --help --json --lang -h" "$valued --lang" "$operands"
end

function __opanel_agent_files
    for each in $argv[1]*
        test -d $each; and set each $each/
        printf '%s\n' $each
    end
end

function __opanel_agent_value
    switch $argv[1]
        case --html
            __opanel_agent_files (commandline -ct)
        case --lang
            printf '%s\n' tr en
        case --preseed
            __opanel_agent_files (commandline -ct)
        case -o
            __opanel_agent_files (commandline -ct)
    end
end

function __opanel_agent_complete
    set -l cur (commandline -ct)
    set -l typed
    set -l option
    set -l ended
    set -l count 0
    set -l after (__opanel_agent_after '')
    # `option` is one that still waits for its value.
    for word in (commandline -opc)[2..-1]
        if set -q option[1]
            set option
        else if set -q ended[1]; or test "$word" = -
            set count (math $count + 1)
        else if test "$word" = --
            set ended yes
        else if string match -q -- '-*' $word
            contains -- $word (string split ' ' -- $after[3]); and set option $word
        else if test $count = 0; and contains -- $word (string split ' ' -- $after[1])
            set -a typed $word
            set after (__opanel_agent_after $typed)
        else
            set count (math $count + 1)
        end
    end
    set -l operands (string split -n ' ' -- $after[4])
    if set -q option[1]
        __opanel_agent_value $option
    else if not set -q ended[1]; and string match -q -- '--*=*' $cur
        set -l name (string split -m 1 = -- $cur)[1]
        contains -- $name (string split ' ' -- $after[3]); and printf '%s\n' $name=(__opanel_agent_value $name)
    else if not set -q ended[1]; and string match -q -- '-*' $cur
        printf '%s\n' (string split -n ' ' -- $after[2])
    else if test $count = 0; and test -n "$after[1]"
        printf '%s\n' (string split ' ' -- $after[1])
    else if test "$operands[1]" = @files
        __opanel_agent_files $cur
    else if test "$operands[1]" = @one
        test $count = 0; and printf '%s\n' $operands[2..-1]
    else if set -q operands[1]
        printf '%s\n' $operands
    end
end

complete -c opanel-agent -f -a '(__opanel_agent_complete)'
