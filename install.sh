#!/bin/sh
# Installs opanel-agent, brings it up to date and removes it; or shows it at work (--demo). --help says more.
# Everything is in functions and main is the last line, so that a download cut short runs nothing.
#
# It finds the way and hands over: in a checkout, in the unpacked tar and in /opt/opanel-agent to packaging/installer; alone
# (curl … | sh), or with --repository, to this system's package manager, or to the tar where there is none. Key: as pinned.
#
# shellcheck disable=SC1091,SC2015,SC2154,SC1111 # python is of python.sh; "A && B || fail": fail ends the script, so it is if-then-else; texts have quotes as people print them
set -eu

released=2026-11-24   # a clock that says an earlier day is wrong
repository=           # the vendor's, and the SHA-256 of its opanel.asc: written into the copy that is published beside the packages
key=
place=/opt/opanel-agent

# ---- every sentence before packaging/installer has the word (its own: texts.toml), English and Turkish

usage() {
    case $lang in
    tr) cat <<'END' ;;
kullanım: ./install.sh [--wheels DİZİN | --repository ADRES --key SHA256] [--license ANAHTAR|DOSYA] [--preseed DOSYA] [--dry-run]
          ./install.sh --uninstall [--purge [--no-export]] [--dry-run]
          ./install.sh --demo [--keep]

  --wheels DİZİN      paketler bu dizinden alınır (packaging/wheels.py hazırlar); hiçbir sunucuya bağlanılmaz
  --repository ADRES  bu sistemin paket yöneticisi bu depodan kurar (yoksa tar); --key: deponun opanel.asc dosyasının SHA-256 özeti
  --license DOSYA     kurulumdan sonra bu lisans belgesi çevrimdışı yüklenir
  --license ANAHTAR   kurulum ve sorulardan sonra anahtarla lisans alınır; gönderilecekler önce gösterilir (anahtarı içeren bir
                      DOSYA verilirse anahtar süreç listesinde görünmez)
  --preseed DOSYA     sorular yerine bu consent.toml geçerli olur
  --dry-run           yapılacak her değişiklik yazılır, hiçbir şey değiştirilmez
  --uninstall         kurulan her şey kaldırılır; /etc/opanel-agent ve /var/lib/opanel-agent* kalır; --purge: önce verileriniz
                      bir dosyaya aktarılır, sonra onlar da silinir; --no-export: aktarılmaz
  --demo              her kullanıcıyla: .env/demo içinde bir ortam kurulur ve örnek bir lisansın yaşam döngüsü yalnızca bu makinede
                      gösterilir; --keep: lisans otoritesi ve ajan çalışır bırakılır
  --lang tr|en        dil (belirtilmezse yerel ayara göre); -h, --help: bu metin
Aynı komut yükseltir ve onarır. Kurulum ajanın kendi sorularıyla biter (opanel-agent setup); yanıtlanmayan her soru “hayır” sayılır.
çıkış: 0 tamam · 64 kullanım · 69 paketlere ulaşılamıyor · 70 iç hata · 74 yazılamıyor · 77 root değil · 78 bu makinede bir şey eksik
END
    *) cat <<'END' ;;
usage: ./install.sh [--wheels DIR | --repository URL --key SHA256] [--license KEY|FILE] [--preseed FILE] [--dry-run]
       ./install.sh --uninstall [--purge [--no-export]] [--dry-run]
       ./install.sh --demo [--keep]

  --wheels DIR      take the packages from this directory (packaging/wheels.py makes it); no host is contacted
  --repository URL  this system's package manager installs from there (else the tar); --key: SHA-256 of its opanel.asc
  --license FILE    install this license document afterwards, offline
  --license KEY     redeem the key for its license, after the questions; what will be sent is shown first (a FILE that holds the
                    key keeps it out of the process list)
  --preseed FILE    a consent.toml that answers in the place of the questions
  --dry-run         print every change that would be made, and change nothing
  --uninstall       remove what was installed; /etc/opanel-agent and /var/lib/opanel-agent* stay; --purge: export your data to a
                    file first, then remove those, too; --no-export: without the file
  --demo            as any user: make an environment in .env/demo (once) and show the life of an example license, on this machine
                    only; --keep: leave the demo's authority and agent running, and show how to use and to stop them
  --lang tr|en      the language (default: what the locale says); -h, --help: this
The same command upgrades and repairs. It ends with the agent's own questions (opanel-agent setup); what is not answered counts as no.
exit: 0 done · 64 usage · 69 packages unreachable · 70 internal error · 74 cannot write · 77 not root · 78 this machine lacks something
END
    esac
}

both() { # English, Turkish
    if [ "$lang" = tr ]; then printf '%s\n' "$2"; else printf '%s\n' "$1"; fi
}

sentence() { # its id, and values
    case $1 in
    way) both "This system is $2: $3 installs $4." "Bu sistem $2: $4, $3 ile kurulur." ;;
    plan) both "What changes:" "Yapılacak değişiklikler:" ;;
    lay) both "write $2" "yazılır: $2" ;;
    run) both "run $2" "çalıştırılır: $2" ;;
    hosts) both "Hosts that will be contacted: $2, and those of $3's own settings. They see this server's IP address and what it fetches." "Bağlanılacak sunucular: $2 ve $3 ayarlarındakiler. Bu sunucunun IP adresini ve ne indirdiğini görürler." ;;
    then_setup) both "Last: opanel-agent setup asks what may be sent from this server. What is not answered counts as no." "En son: opanel-agent setup bu sunucudan nelerin gönderilebileceğini sorar. Yanıtlanmayan her soru “hayır” sayılır." ;;
    dry) both "Nothing was changed (--dry-run)." "Hiçbir şey değiştirilmedi (--dry-run)." ;;
    setup_left) both "The questions were not answered to the end; what is not answered counts as no. Ask again: opanel-agent setup" "Sorular sonuna kadar yanıtlanmadı; yanıtlanmayan her soru “hayır” sayılır. Yeniden sormak için: opanel-agent setup" ;;
    license_left) both "The license was not installed; the lines above say why. The installation is done. Again: opanel-agent license install" "Lisans yüklenmedi; nedeni yukarıdaki satırlarda. Kurulum tamamlandı. Yeniden denemek için: opanel-agent license install" ;;
    ready) both "Done: opanel-agent is installed and answers. How it is: opanel-agent status" "Tamam: opanel-agent kuruldu ve yanıt veriyor. Durumu görmek için: opanel-agent status" ;;
    gone) both "Done: the package was removed." "Tamam: paket kaldırıldı." ;;
    esac
}

cannot() { # exit status, English sentence and cure, Turkish sentence and cure
    status=$1
    if [ "$lang" = tr ]; then title=$4 cure=$5; else title=$2 cure=$3; fi
}

problem() {
    case $1 in
    option) cannot 64 "cannot understand $2" 'the options are above' "$2 anlaşılamıyor" 'seçenekler yukarıda' ;;
    value) cannot 64 "cannot use $2 without its value" "write it behind it: $2 $3" "$2 değeri olmadan kullanılamıyor" "değerini arkasına yazın: $2 $3" ;;
    no_language) cannot 64 'cannot tell the language' '--lang takes tr or en' 'dil anlaşılamıyor' '--lang tr ya da en olabilir' ;;
    language) cannot 64 "cannot use the language $2" '--lang takes tr or en' "$2 dili kullanılamıyor" '--lang tr ya da en olabilir' ;;
    root) cannot 77 'cannot install or remove a service: this needs root' 'run it with sudo; --dry-run shows every change without root' 'hizmet kurulamıyor ya da kaldırılamıyor: root yetkisi gerekiyor' 'sudo ile çalıştırın; --dry-run her değişikliği root olmadan da gösterir' ;;
    systemd) cannot 78 'cannot install a service: systemd does not run this machine' 'in a container, start the agent by hand (docs/operations.md); to look at it: ./install.sh --demo' 'hizmet kurulamıyor: bu makineyi systemd yönetmiyor' 'kapsayıcıda ajanı elle başlatın (docs/operations.md); görmek için: ./install.sh --demo' ;;
    missing) cannot 78 "cannot go on without $2; nothing was changed" "install it by: $3" "$2 olmadan sürdürülemiyor; hiçbir şey değişmedi" "şununla kurun: $3" ;;
    python) cannot 78 'cannot find Python 3.11 or newer' "install it by: $2" 'Python 3.11 ya da daha yenisi bulunamıyor' "şununla kurun: $2" ;;
    old_python) cannot 78 'cannot find Python 3.11 or newer, and no package of this system brings it' 'the package opanel-agent-self-contained and the tar bring one of their own (docs/operations.md)' 'Python 3.11 ya da daha yenisi bulunamıyor; bu sistemin hiçbir paketinde de yok' 'opanel-agent-self-contained paketi ve tar kendi Python sürümünü getirir (docs/operations.md)' ;;
    no_start) cannot 78 "cannot start the Python that came with $2" 'it is damaged, no program may run there (noexec), or this system is older than glibc 2.28; unpack the tar again, elsewhere (from a pipe: TMPDIR=/root)' "$2 ile gelen Python başlatılamıyor" "bozuk, orada program çalıştırılamıyor (noexec) ya da sistem glibc 2.28'den eski; tar dosyasını başka yerde yeniden açın (curl ile kurarken: TMPDIR=/root)" ;;
    venv) cannot 78 "cannot make a Python environment with $2: its venv module is not there" "install it by: $3" "$2 ile Python ortamı kurulamıyor: venv modülü yok" "şununla kurun: $3" ;;
    repository) cannot 78 'cannot tell where the packages are: this is no whole copy of the repository, and it names no other' 'name it: --repository URL --key SHA256, or run install.sh in a whole copy' 'paketlerin yeri bilinmiyor: bu, deponun eksiksiz bir kopyası değil ve başka bir depo da belirtilmemiş' 'belirtin: --repository ADRES --key SHA256; ya da install.sh dosyasını eksiksiz bir kopyada çalıştırın' ;;
    unreachable) cannot 69 "cannot fetch $2; nothing was changed" 'the lines above say why; check the network and the address' "$2 indirilemiyor; hiçbir şey değişmedi" 'nedeni yukarıda; ağı ve adresi denetleyin' ;;
    key) cannot 78 "cannot trust $2: its key has the SHA-256 $3" "ask the vendor for the right one; it was to be $4" "$2 güvenilir değil: anahtarının SHA-256 özeti $3" "doğrusunu üreticiye sorun; beklenen: $4" ;;
    processor) cannot 78 "cannot install on a processor $2" 'the package is made for x86-64; on Debian 12 and Ubuntu 24.04 or newer it runs on each' "$2 işlemcide kurulamıyor" 'paket x86-64 içindir; Debian 12, Ubuntu 24.04 ve sonrasında her işlemcide çalışır' ;;
    signature) cannot 78 "cannot verify $2; nothing was changed" 'the lines above say why; tell the vendor' "$2 doğrulanamıyor; hiçbir şey değişmedi" 'nedeni yukarıda; üreticiye bildirin' ;;
    manager) cannot 70 "cannot finish: $2 failed" 'the lines above say why; run this again to go on' "tamamlanamıyor: $2 başarısız oldu" 'nedeni yukarıda; sürdürmek için yeniden çalıştırın' ;;
    esac
}

say() { printf '%s\n' "$*" >&2; }
tell() { say "$(sentence "$@")"; }

fail() { # one sentence, one cure, one code
    problem "$@"
    say "$title
  $cure
  $(both code kod): $1"
    exit "$status"
}

has() { command -v "$1" >/dev/null 2>&1; }

need() { # programs; behind a colon the package that brings one, where it is called otherwise
    for name; do has "${name%:*}" || fail missing "${name%:*}" "$(by "${name#*:}")"; done
}

find_system() { # into ID, VERSION_ID and own, its package manager
    ID=Linux VERSION_ID='' own=''
    [ ! -r /etc/os-release ] || . /etc/os-release
    for name in pacman zypper yum dnf apt-get; do ! has "$name" || own=$name; done
}

by() { # how this system's own package manager brings a package
    case $own in
    '') both "this system's package manager" 'bu sistemin paket yöneticisi' ;;
    pacman) echo "pacman -S $1" ;;
    *) echo "$own install $1" ;;
    esac
}

# ---- beside its kit: packaging/installer does it

by_kit() {
    [ -r "$root/packaging/installer/python.sh" ] || fail repository
    . "$root/packaging/installer/python.sh"
    unpack_kept
    if [ -n "$demo" ]; then choose_python good_python; else choose_python system_python /usr/bin/python3; fi
    "$python" -I -B "$root/packaging/installer" --lang "$lang" ${lang_asked:+--lang-asked} ${demo:+--demo} ${keep:+--keep} \
        ${dry_run:+--dry-run} ${uninstall:+--uninstall} ${purge:+--purge} ${no_export:+--no-export} \
        --released "$released" --runtime "$kept" --wheels "$wheels" --preseed "$preseed" --license "$license"
}

# ---- alone: this system's package manager, or the tar

find_manager() { # into manager, package, keyring and list
    find_system
    manager=$own package=opanel-agent keyring=/etc/pki/rpm-gpg/RPM-GPG-KEY-opanel
    case $manager in
    '' | pacman) manager=tar ;;
    apt-get) keyring=/etc/apt/keyrings/opanel.asc list=/etc/apt/sources.list.d/opanel.list ;;
    zypper) list=/etc/zypp/repos.d/opanel.repo ;;
    *) list=/etc/yum.repos.d/opanel.repo ;;
    esac
    case $manager:$(cat "$place/package" 2>/dev/null || :):$ID:${VERSION_ID:-99} in # the package that is here stays the one
    apt-get::debian:1[2-9]* | apt-get::debian:99 | apt-get::ubuntu:2[4-9].*) return ;; # on their own Python
    apt-get:*) package=opanel-agent-self-contained ;;
    esac
    [ "$(uname -m)" = x86_64 ] || fail processor "$(uname -m)"
}

fetch() { # a file of the repository, into the folder
    if has curl; then curl -fsS -A opanel-agent-install -o "$made/$1" "$repository/$1"
    else wget -nv -U opanel-agent-install --max-redirect=0 -O "$made/$1" "$repository/$1" >&2; fi || fail unreachable "$repository/$1"
}

manage() { "$@" </dev/null >&2 || fail manager "$*"; }

by_manager() {
    host=${repository#*://}
    tell way "$ID $VERSION_ID" "$manager" "$package"
    tell plan
    if [ "$manager" = tar ]; then say "  $(sentence run "install.sh ($package-…-x86_64.tar.xz)")"
    else say "  $(sentence lay "$keyring")
  $(sentence lay "$list")
  $(sentence run "$manager install $package")"; fi
    tell hosts "${host%%/*}" "$manager"
    tell then_setup
    [ -z "$dry_run" ] || tell dry
    has curl || has wget || need curl
    need sha256sum:coreutils
    [ "$manager" != tar ] || need tar xz gpgv:gnupg base64:coreutils
    [ -d /run/systemd/system ] && has systemctl || fail systemd
    [ -z "$dry_run" ] || exit 0
    made=$(mktemp -d "${TMPDIR:-/var/tmp}/opanel-agent.XXXXXX")
    trap 'rm -rf "$made"' EXIT
    fetch opanel.asc
    found=$(sha256sum "$made/opanel.asc" | cut -d ' ' -f 1)
    [ "$found" = "$key" ] || fail key "$repository" "$found" "$key"
    [ "$manager" = tar ] || install -D -m 644 "$made/opanel.asc" "$keyring"
    case $manager in
    tar) by_tar ;;
    apt-get)
        echo "deb [signed-by=$keyring] $repository ./" >"$list"
        manage apt-get -q update
        manage env DEBIAN_FRONTEND=noninteractive apt-get -qy install "$package"
        ;;
    *)
        printf '[opanel]\nname=OPanel\nbaseurl=%s\ngpgcheck=1\nrepo_gpgcheck=1\ngpgkey=file://%s\n' "$repository" "$keyring" >"$list"
        manage "$manager" -y install "$package"
        ;;
    esac
    finish
}

by_tar() { # whose digest is signed with the key
    for name in SHA256SUMS SHA256SUMS.sig; do fetch "$name"; done
    sed -n '/^$/,/^=/{/^$/d;/^=/d;p;}' "$made/opanel.asc" | base64 -d >"$made/ring.gpg"
    gpgv --keyring "$made/ring.gpg" "$made/SHA256SUMS.sig" "$made/SHA256SUMS" >&2 || fail signature "$repository/SHA256SUMS"
    name=$(sed -n 's/^[0-9a-f]*  \(opanel-agent-[^/]*-x86_64\.tar\.xz\)$/\1/p' "$made/SHA256SUMS" | tail -n 1)
    fetch "$name"
    (cd "$made" && grep "  $name\$" SHA256SUMS | sha256sum -c --quiet >&2) || fail signature "$repository/$name"
    manage tar -C "$made" -xJf "$made/$name"
    root=$made/${name%-x86_64.tar.xz}
    by_kit
    exit
}

# The questions, to whoever sits at the terminal also where this comes from a pipe; the license; and an answer.
finish() {
    if [ -n "$preseed" ]; then ask setup --preseed "$preseed" || after=$?; else ask setup || tell setup_left; fi
    [ -z "$license" ] || ask license install "$license" || after=$?
    ask status || fail manager 'opanel-agent status'
    case ${after-0} in 0 | 75) tell ready ;; *) tell license_left; exit "$after" ;; esac
}

ask() { # the agent
    if [ -z "$root" ] && (: </dev/tty) 2>/dev/null; then opanel-agent "$@" --lang "$lang" </dev/tty >&2
    else opanel-agent "$@" --lang "$lang" >&2; fi
}

by_package() { # removing what a package manager laid
    verb=remove
    [ -z "$purge" ] || [ "$manager" != apt-get ] || verb=purge
    tell plan
    say "  $(sentence run "$manager $verb $package")"
    [ -z "$dry_run" ] || { tell dry; exit; }
    [ -z "$purge" ] || [ -n "$no_export" ] || manage opanel-agent data export -o "/root/opanel-agent-$(date -u +%Y%m%dT%H%M%SZ).export"
    manage "$manager" -y "$verb" "$package"
    tell gone
}

# ---- the command line

language() { # as POSIX orders the locale's variables
    case ${LC_ALL:-${LC_MESSAGES:-${LANG:-}}} in tr | tr_* | tr.* | TR | TR_*) echo tr ;; *) echo en ;; esac
}

read_options() {
    while [ $# -gt 0 ]; do
        option=${1%%=*} value=1
        case $1 in
        --demo | --keep | --dry-run | --uninstall | --purge | --no-export | --help) ;;
        -h) option=--help ;;
        --lang=* | --wheels=* | --license=* | --preseed=* | --repository=* | --key=*) value=${1#*=} ;;
        --lang | --wheels | --license | --preseed | --repository | --key)
            [ $# -gt 1 ] || { [ "$1" != --lang ] || fail no_language; fail value "$1" …; }
            value=$2; shift ;;
        *) usage >&2; fail option "$1" ;;
        esac
        case $option:$value in
        --lang:tr | --lang:en) lang_asked=$value ;;
        --lang:*) fail language "$value" ;;
        --dry-run:*) option=--dry_run ;;
        --no-export:*) option=--no_export ;;
        esac
        eval "${option#--}=\$value"
        shift
    done
}

main() {
    umask 022
    PATH=$PATH:/usr/local/bin:/usr/sbin:/sbin   # for root by way of su
    export PIP_USER=0   # a person's own default; it has no meaning in an environment and would stop pip
    demo='' keep='' lang_asked='' wheels='' license='' preseed='' dry_run='' uninstall='' purge='' no_export='' help='' root=''
    lang=$(language) pinned=$repository repository=''
    read_options "$@"
    [ -z "$help" ] || { usage; exit 0; }
    [ ! -f "$0" ] || root=$(cd "$(dirname "$0")" && pwd -P)
    if [ -z "$repository" ] && [ -n "$root" ] && [ -d "$root/packaging/installer" ]; then by_kit; exit; fi
    repository=${repository:-$pinned} && repository=${repository%/}
    [ -n "$uninstall" ] || { [ -n "$repository" ] && [ -n "$key" ] && [ -z "$demo$wheels" ]; } || fail repository
    [ -n "$dry_run" ] || [ "$(id -u)" = 0 ] || fail root
    find_manager
    if [ -z "$uninstall" ]; then by_manager
    elif [ -f "$place/manifest" ]; then sh "$place/install.sh" "$@"
    else by_package; fi
}

main "$@"
