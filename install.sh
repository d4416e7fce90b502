#!/bin/sh
# Installs opanel-agent as a service, brings it up to date and removes it; or shows it at work (--demo). --help says more.
# Everything is in functions and main is the last line, so that a download cut short runs nothing.
#
# The same functions run twice: first they say each change that they would make, then they make it; --dry-run ends between
# the two. What is laid is noted in the manifest before it is laid: a run that was cut short is repaired by the next one,
# and --uninstall knows what to remove. A new environment is made beside the old one, and nothing else is touched before it
# runs; where the new agent does not start, or gives no answer where the old one gave one, what was replaced is put back.
#
# shellcheck disable=SC2015,SC1111 # "A && B || fail": fail ends the script, so it is if-then-else; texts have quotes as people print them
set -eu

released=2026-11-24   # a clock that says an earlier day is wrong
place=/opt/opanel-agent
config=/etc/opanel-agent
state=/var/lib/opanel-agent
withdrawals=/var/lib/opanel-agent-withdrawals
units=/etc/systemd/system
link=/usr/local/bin/opanel-agent
manifest=$place/manifest
answer=/run/opanel-agent/answer.json
sockets='opanel-agent-fetch.socket opanel-agent-courier.socket'
watch=opanel-agent-changed.path
service=opanel-agent.service
own_socket=opanel-agent.socket
folders="$config|root:opanel-agent 2755
$config/import.d|root:opanel-agent 2750
/run/opanel-agent|opanel-agent:opanel 2750
/run/opanel-courier|opanel-agent:opanel-agent 700
/run/opanel-machine|root:root 700
$withdrawals|root:root 755
$withdrawals/agent|opanel-agent:opanel-agent 755"

# ---- every sentence, English and Turkish

usage() {
    case $lang in
    tr) cat <<'END' ;;
kullanım: ./install.sh [--wheels DİZİN] [--license ANAHTAR|DOSYA] [--preseed DOSYA] [--lang tr|en] [--dry-run]
          ./install.sh --uninstall [--purge [--no-export]] [--lang tr|en] [--dry-run]
          ./install.sh --demo [--keep] [--lang tr|en]

  --wheels DİZİN   paketler bu dizinden alınır (packaging/wheels.py hazırlar); hiçbir sunucuya bağlanılmaz
  --license DOSYA   kurulumdan sonra bu lisans belgesi çevrimdışı yüklenir
  --license ANAHTAR kurulum ve sorulardan sonra anahtarla lisans alınır; gönderilecekler önce gösterilir
                    (anahtarı içeren bir DOSYA verilirse anahtar süreç listesinde görünmez)
  --preseed DOSYA   sorular yerine bu consent.toml geçerli olur
  --dry-run         yapılacak her değişiklik yazılır, hiçbir şey değiştirilmez
  --uninstall       kurulan her şey kaldırılır; /etc/opanel-agent ve /var/lib/opanel-agent* kalır
  --purge           önce verileriniz bir dosyaya aktarılır, sonra onlar da silinir; --no-export: aktarılmaz
  --demo            her kullanıcıyla: .env/demo içinde bir ortam kurulur ve örnek bir lisansın yaşam döngüsü yalnızca bu makinede gösterilir
  --keep            gösterinin lisans otoritesi ve ajanı çalışır bırakılır; nasıl kullanılacağı ve durdurulacağı gösterilir
  --lang tr|en      dil (belirtilmezse yerel ayara göre)
  -h, --help        bu metin

Aynı komut yükseltir ve onarır. Kurulum ajanın kendi sorularıyla biter (opanel-agent setup); yanıtlanmayan her soru “hayır” sayılır.

çıkış: 0 tamam · 64 kullanım · 69 paketlere ulaşılamıyor · 70 iç hata · 74 yazılamıyor · 77 root değil · 78 bu makinede bir şey eksik
END
    *) cat <<'END' ;;
usage: ./install.sh [--wheels DIR] [--license KEY|FILE] [--preseed FILE] [--lang tr|en] [--dry-run]
       ./install.sh --uninstall [--purge [--no-export]] [--lang tr|en] [--dry-run]
       ./install.sh --demo [--keep] [--lang tr|en]

  --wheels DIR    take the packages from this directory (packaging/wheels.py makes it); no host is contacted
  --license FILE  install this license document afterwards, offline
  --license KEY   redeem the key for its license, after the questions; what will be sent is shown first
                  (a FILE that holds the key keeps it out of the process list)
  --preseed FILE  a consent.toml that answers in the place of the questions
  --dry-run       print every change that would be made, and change nothing
  --uninstall     remove what was installed; /etc/opanel-agent and /var/lib/opanel-agent* stay
  --purge         export your data to a file first, then remove those, too; --no-export: without the file
  --demo          as any user: make an environment in .env/demo (once) and show the life of an example license, on this machine only
  --keep          leave the demo's authority and agent running, and show how to use and to stop them
  --lang tr|en    the language (default: what the locale says)
  -h, --help      this

The same command upgrades and repairs. It ends with the agent's own questions (opanel-agent setup); what is not answered counts as no.

exit: 0 done · 64 usage · 69 packages unreachable · 70 internal error · 74 cannot write · 77 not root · 78 this machine lacks something
END
    esac
}

both() { # English, Turkish
    case $lang in
    tr) printf '%s\n' "$2" ;;
    *) printf '%s\n' "$1" ;;
    esac
}

# What is done, in a line. The first word is the id, the others are values.
sentence() {
    case $1 in
    fresh) both "opanel-agent $2 is installed here for the first time." "opanel-agent $2 buraya ilk kez kuruluyor." ;;
    upgrade) both "opanel-agent $2 is here; $3 takes its place. License, consents and ledger stay." "opanel-agent $2 kurulu; yerine $3 geçiyor. Lisans, rızalar ve kayıt defteri kalıyor." ;;
    same) both "opanel-agent $2 is here already." "opanel-agent $2 zaten kurulu." ;;
    unfinished) both "An earlier run was cut short; this one finishes it." "Önceki bir çalıştırma yarıda kalmış; bu çalıştırma onu tamamlar." ;;
    old_systemd) both "systemd $2 is older than 247: it does not support some of the service's sandbox restrictions. 'opanel-agent status' lists those that are not active." "systemd $2, 247'den eski: hizmetin bazı yalıtım önlemlerini desteklemiyor. Etkin olmayanları 'opanel-agent status' listeler." ;;
    plan) both "What changes:" "Yapılacak değişiklikler:" ;;
    nothing) both "Nothing has to be changed." "Değiştirilecek bir şey yok." ;;
    no_hosts) both "Hosts that will be contacted: none." "Bağlanılacak sunucu: yok." ;;
    hosts) both "Hosts that will be contacted, for the packages: $2. They see this server's IP address and which packages it fetches, nothing else about it." "Paketler için bağlanılacak sunucular: $2. Bu sunucunun IP adresini ve hangi paketleri indirdiğini görürler; başka bilgi almazlar." ;;
    then_license) both "Then: the license in $2 is installed, offline." "Sonra: $2 içindeki lisans çevrimdışı yüklenir." ;;
    then_key) both "After the questions: the license key is redeemed at the authority; the command first shows what will be sent." "Sorulardan sonra: anahtarla lisans otoritesinden lisans alınır; komut gönderilecekleri önce gösterir." ;;
    then_setup) both "Last: opanel-agent setup asks what may be sent from this server. What is not answered counts as no." "En son: opanel-agent setup bu sunucudan nelerin gönderilebileceğini sorar. Yanıtlanmayan her soru “hayır” sayılır." ;;
    then_untracked) both "Nothing is asked: do-not-track is set where this runs. To be asked later: opanel-agent dnt off, then opanel-agent setup." "Hiçbir şey sorulmaz: bu ortamda izlenmeme istenmiş. Sonradan sorulması için: opanel-agent dnt off, ardından opanel-agent setup." ;;
    then_preseed) both "Last: opanel-agent setup takes the answers from $2." "En son: opanel-agent setup yanıtları $2 dosyasından alır." ;;
    dry) both "Nothing was changed (--dry-run)." "Hiçbir şey değiştirilmedi (--dry-run)." ;;
    folder) both "make $2" "dizin: $2" ;;
    fetch) both "fetch the packages into $2, checked against their hashes" "paketler indirilir, özetleriyle denetlenir: $2" ;;
    take) both "copy the packages from $2 to $3" "paketler kopyalanır: $2 → $3" ;;
    build) both "build opanel-agent $2 from $3" "opanel-agent $2 derlenir: $3" ;;
    env) both "make the environment $2 with Python $3" "ortam kurulur: $2 (Python $3)" ;;
    swap) both "point $2 at it" "$2 ona yönlendirilir" ;;
    untracked) both "write $2: do-not-track is set where this runs, and the service would not see it" "yazılır: $2 (bu ortamda izlenmeme istenmiş; hizmet bu ortamı göremez)" ;;
    lay) both "write $2" "yazılır: $2" ;;
    link) both "link $2 to $3" "bağlantı oluşturulur: $2 → $3" ;;
    drop) both "remove $2" "silinir: $2" ;;
    accounts) both "make the users opanel-agent, opanel-courier and the group opanel, where they are missing" "eksikse opanel-agent ve opanel-courier kullanıcıları ile opanel grubu oluşturulur" ;;
    folders) both "make $2" "oluşturulur: $2" ;;
    reload) both "have systemd read its units again" "systemd birimlerini yeniden okur" ;;
    enable) both "enable and start $2" "etkinleştirilir ve başlatılır: $2" ;;
    restart) both "restart $2, where it runs" "çalışıyorsa yeniden başlatılır: $2" ;;
    not_watched) both "opanel-agent-changed.path did not start: a change of consent or settings counts all the same, and is shown later." "opanel-agent-changed.path başlamadı: rıza ya da ayar değişikliği yine geçerlidir, yalnızca daha geç gösterilir." ;;
    stop) both "stop and disable $2" "durdurulur ve devre dışı bırakılır: $2" ;;
    export) both "export the data to $2" "veriler aktarılır: $2" ;;
    seat) both "The license's seat stays taken; to give it up, first: opanel-agent license release" "Lisansın kullanım hakkı dolu kalır; bırakmak için önce: opanel-agent license release" ;;
    nothing_kept) both "There is nothing to export." "Aktarılacak veri yok." ;;
    account) both "remove the user or group $2" "kullanıcı ya da grup silinir: $2" ;;
    interrupted) both "Interrupted. Run it again: it continues where it stopped." "Yarıda kesildi. Yeniden çalıştırın: kaldığı yerden sürer." ;;
    working) both "Working …" "Çalışıyor …" ;;
    back) both "The new version did not start, or gives no answer; what was here before is put back." "Yeni sürüm başlamadı ya da yanıt vermiyor; önceki sürüm geri konuyor." ;;
    consent_refused) both "The consent file is refused, so nothing is allowed; the lines above say where. The installation is done." "Rıza dosyası kabul edilmedi, bu yüzden hiçbir rıza geçerli değil; yeri yukarıdaki satırlarda. Kurulum tamamlandı." ;;
    setup_left) both "The questions were not answered to the end; what is not answered counts as no. Ask again: opanel-agent setup" "Sorular sonuna kadar yanıtlanmadı; yanıtlanmayan her soru “hayır” sayılır. Yeniden sormak için: opanel-agent setup" ;;
    license_left) both "The license was not installed; the lines above say why. The installation is done. Again: opanel-agent license install" "Lisans yüklenmedi; nedeni yukarıdaki satırlarda. Kurulum tamamlandı. Yeniden denemek için: opanel-agent license install" ;;
    installed) both "Done: opanel-agent $2 is installed ($3 changes). How it is: opanel-agent status" "Tamam: opanel-agent $2 kurulu ($3 değişiklik). Durumu görmek için: opanel-agent status" ;;
    undo) both "To undo it: $2 --uninstall (your settings and data stay), --uninstall --purge (nothing stays)" "Geri almak için: $2 --uninstall (ayarlarınız ve verileriniz kalır), --uninstall --purge (hiçbir şey kalmaz)" ;;
    what) both "What was laid where: $2" "Kurulan dosyaların listesi: $2" ;;
    gone) both "Done: opanel-agent was removed ($2 changes)." "Tamam: opanel-agent kaldırıldı ($2 değişiklik)." ;;
    stays) both "Your settings and data stay: $2. To install it again: ./install.sh · To remove those, too: ./install.sh --uninstall --purge" "Ayarlarınız ve verileriniz kaldı: $2. Yeniden kurmak için: ./install.sh · Onları da silmek için: ./install.sh --uninstall --purge" ;;
    exported) both "Your data: $2. Check it on any machine: opanel-agent verify FILE" "Verileriniz: $2. Herhangi bir makinede denetlemek için: opanel-agent verify DOSYA" ;;
    not_ours) both "left: $2, which is no longer the installer's" "dokunulmadı: $2, artık kurulum betiğine ait değil" ;;
    demo_env) both "making .env/demo with $2, once: packages are fetched and checked against their hashes" ".env/demo kuruluyor ($2), bir kez: paketler indirilir ve özetleriyle denetlenir" ;;
    esac
}

# What cannot be done: exit status, English sentence and cure, Turkish sentence and cure.
cannot() {
    status=$1
    case $lang in
    tr) title=$4 cure=$5 ;;
    *) title=$2 cure=$3 ;;
    esac
}

problem() {
    case $1 in
    option) cannot 64 "cannot understand $2" 'the options are above' "$2 anlaşılamıyor" 'seçenekler yukarıda' ;;
    together) cannot 64 "cannot use $2 here" 'see --help: it belongs to another use' "$2 burada kullanılamıyor" 'bkz. --help: başka bir kullanıma ait' ;;
    value) cannot 64 "cannot use $2 without its value" "write it behind it: $2 $3" "$2 değeri olmadan kullanılamıyor" "değerini arkasına yazın: $2 $3" ;;
    no_language) cannot 64 'cannot tell the language' '--lang takes tr or en' 'dil anlaşılamıyor' '--lang tr ya da en olabilir' ;;
    language) cannot 64 "cannot use the language $2" '--lang takes tr or en' "$2 dili kullanılamıyor" '--lang tr ya da en olabilir' ;;
    license) cannot 64 "cannot read the license $2: it is neither a file here nor a license key" 'name the file, or type the key as it was sent' "$2 lisansı okunamıyor: ne bir dosya ne de bir lisans anahtarı" 'dosyayı belirtin ya da anahtarı gönderildiği gibi yazın' ;;
    preseed) cannot 64 "cannot read $2" 'name a readable consent.toml' "$2 okunamıyor" 'okunabilir bir consent.toml belirtin' ;;
    root) cannot 77 'cannot install or remove a service: this needs root' 'run it with sudo; --dry-run shows every change without root' 'hizmet kurulamıyor ya da kaldırılamıyor: root yetkisi gerekiyor' 'sudo ile çalıştırın; --dry-run her değişikliği root olmadan da gösterir' ;;
    incomplete) cannot 74 "cannot read $2" 'this is no complete copy of the repository: fetch it again' "$2 okunamıyor" 'bu kopya eksik: depoyu yeniden indirin' ;;
    systemd) cannot 78 'cannot install a service: systemd does not run this machine' 'in a container, start the agent by hand (docs/operations.md); to look at it: ./install.sh --demo' 'hizmet kurulamıyor: bu makineyi systemd yönetmiyor' 'kapsayıcıda ajanı elle başlatın (docs/operations.md); görmek için: ./install.sh --demo' ;;
    python) cannot 78 'cannot find Python 3.11 or newer' 'install it (Debian 12, Ubuntu 24.04: apt install python3 python3-venv; AlmaLinux 9: dnf install python3.12)' 'Python 3.11 ya da daha yenisi bulunamıyor' 'kurun (Debian 12, Ubuntu 24.04: apt install python3 python3-venv; AlmaLinux 9: dnf install python3.12)' ;;
    venv) cannot 78 "cannot make a Python environment with $2: its venv module is not there" 'Debian and Ubuntu keep it apart: apt install python3-venv' "$2 ile Python ortamı kurulamıyor: venv modülü yok" 'Debian ve Ubuntu onu ayrı tutar: apt install python3-venv' ;;
    clock) cannot 78 "cannot trust the clock: it says $2, and this package was made on $3" 'set it: timedatectl set-ntp true, or date -s' "saate güvenilemiyor: $2 gösteriyor, bu paket ise $3 tarihli" 'ayarlayın: timedatectl set-ntp true ya da date -s' ;;
    full) cannot 74 "cannot install: less than $3 MB are free in $2" 'free some space' "kurulum yapılamıyor: $2 içinde $3 MB'tan az boş yer var" 'yer açın' ;;
    in_the_way) cannot 78 "cannot put $2 there: something that is not the installer's lies in its place" 'look at it, move it away, and run this again' "$2 yerleştirilemiyor: yerinde kurulum betiğine ait olmayan bir dosya var" 'inceleyin, başka yere taşıyın ve yeniden çalıştırın' ;;
    writable) cannot 78 "cannot install below $2: others than root can change it" "chown root $2; chmod go-w $2" "$2 altına kurulamıyor: root dışındakiler onu değiştirebiliyor" "chown root $2; chmod go-w $2" ;;
    downgrade) cannot 78 "cannot put $3 in the place of $2: it is older, and may not understand what the newer one wrote" "if you mean it: $place/install.sh --uninstall, then this again (settings and data stay)" "$2 yerine $3 kurulamıyor: daha eski ve yenisinin yazdıklarını anlamayabilir" "gerçekten istiyorsanız: $place/install.sh --uninstall, sonra bunu yeniden çalıştırın (ayarlar ve veriler kalır)" ;;
    wheels) cannot 69 "cannot install from $2: it does not contain what this version and Python $3 need" 'the lines above say what is missing; packaging/wheels.py -o DIR makes a whole one' "$2 içinden kurulamıyor: bu sürümün ve Python $3 sürümünün gerektirdikleri tam değil" 'eksik olan yukarıda yazıyor; packaging/wheels.py -o DİZİN eksiksiz bir dizin hazırlar' ;;
    busy) cannot 74 'cannot install: another installation is under way' 'wait for it' 'kurulum yapılamıyor: başka bir kurulum sürüyor' 'bitmesini bekleyin' ;;
    packages) cannot 69 'cannot get the packages; nothing was changed' "check the network, and pip's own settings for a proxy or a mirror; or provide a directory of wheels: --wheels DIR" 'paketler alınamıyor; hiçbir şey değişmedi' "ağı ve pip'in vekil sunucu ya da yansı ayarlarını denetleyin; ya da paketleri bir dizinden verin: --wheels DİZİN" ;;
    env) cannot 70 "cannot make the environment $2; nothing was changed" 'the lines above say why; please report them' "$2 ortamı kurulamıyor; hiçbir şey değişmedi" 'nedeni yukarıda yazıyor; lütfen bildirin' ;;
    write) cannot 74 "cannot write $2" 'look at the disk and its mount; then run this again, it continues where it stopped' "$2 yazılamıyor" 'diski ve bağlama noktasını denetleyin; sonra yeniden çalıştırın, kaldığı yerden sürer' ;;
    step) cannot 70 "cannot finish: $2 failed" 'the lines above say why; run this again to go on, or with --uninstall to undo it' "tamamlanamıyor: $2 başarısız oldu" 'nedeni yukarıda; sürdürmek için yeniden çalıştırın, geri almak için --uninstall ile çalıştırın' ;;
    start) cannot 70 'cannot start the agent' "see: journalctl -u opanel-agent · undo it: $place/install.sh --uninstall" 'ajan başlatılamıyor' "bkz. journalctl -u opanel-agent · geri almak için: $place/install.sh --uninstall" ;;
    upgrade) cannot 70 'cannot run the new version; the one that was here runs again' 'see: journalctl -u opanel-agent; please report it' 'yeni sürüm çalıştırılamıyor; önceki sürüm yeniden çalışıyor' 'bkz. journalctl -u opanel-agent; lütfen bildirin' ;;
    export) cannot 74 "cannot export the data; nothing was removed, the services are stopped" 'the lines above say why; --no-export removes without it, systemctl start opanel-agent starts it again' 'veriler aktarılamıyor; hiçbir şey silinmedi, hizmetler durduruldu' 'nedeni yukarıda; --no-export aktarmadan siler, systemctl start opanel-agent yeniden başlatır' ;;
    no_agent) cannot 74 "cannot export the data in $2: the agent that could is not installed" './install.sh, then --uninstall --purge again; or --no-export' "$2 içindeki veriler aktarılamıyor: bunu yapacak ajan kurulu değil" 'önce ./install.sh, sonra yeniden --uninstall --purge; ya da --no-export' ;;
    demo_place) cannot 74 "cannot show the demo in $2: what lies there counts as the system's own" 'copy this directory to your home and run it there' "demo $2 içinde gösterilemiyor: orada olanlar sistemin sayılır" 'bu dizini kendi ev dizininize kopyalayıp orada çalıştırın' ;;
    demo_write) cannot 74 "cannot write in $2" 'run it from a copy of this directory that belongs to you' "$2 içine yazılamıyor" 'bu dizinin size ait bir kopyasından çalıştırın' ;;
    demo_full) cannot 74 "cannot make the environment: less than 200 MB are free in $2" 'free some space' "ortam kurulamıyor: $2 içinde 200 MB'tan az boş yer var" 'yer açın' ;;
    demo_venv) cannot 78 "cannot make $2" 'the lines above say why (Debian and Ubuntu: apt install python3-venv)' "$2 oluşturulamıyor" 'nedeni yukarıda (Debian ve Ubuntu: apt install python3-venv)' ;;
    demo_packages) cannot 69 'cannot fetch the packages that the demo needs' "check the network, and pip's own settings for a proxy or a mirror; then run this again" 'demonun gerektirdiği paketler indirilemiyor' "ağı ve pip'in vekil sunucu ya da yansı ayarlarını denetleyip yeniden çalıştırın" ;;
    demo_install) cannot 70 'cannot install opanel-agent and opanel-authority in .env/demo' 'the lines above say why; please report them' 'opanel-agent ve opanel-authority .env/demo içine kurulamıyor' 'nedeni yukarıda; lütfen bildirin' ;;
    esac
}

say() { printf '%s\n' "$*" >&2; }
tell() { say "$(sentence "$@")"; }

# One sentence, one cure, one code.
fail() {
    problem "$@"
    say "$title"
    say "  $cure"
    say "  $(both code kod): $1"
    exit "$status"
}

# ---- looking, which changes nothing

good_python() {
    "$1" -I -c 'import sys; sys.exit(not (sys.version_info >= (3, 11) and sys.implementation.name == "cpython"))' 2>/dev/null
}

# A service must not stand on somebody's own Python: its user could not even read it.
system_python() {
    case $("$1" -I -c 'import sys; print(sys.base_prefix)' 2>/dev/null) in
    /usr | /usr/* | /opt/*) good_python "$1" ;;
    *) return 1 ;;
    esac
}

find_python() { # which of them will do
    for name in ${2-} python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$name" >/dev/null 2>&1 && "$1" "$name"; then
            python=$(command -v "$name")
            return
        fi
    done
    fail python
}

check_venv() {
    "$python" -I -c 'import venv, ensurepip' 2>/dev/null || fail venv "$python"
}

check_readable() {
    for file in "$@"; do
        [ -r "$root/$file" ] || fail incomplete "$root/$file"
    done
}

nearest() { # the folder itself, or the one above it that exists
    near=$1
    while [ ! -e "$near" ]; do
        near=$(dirname "$near")
    done
    printf '%s\n' "$near"
}

has_free() { # folder, MB; what cannot be told is no reason to refuse
    free_kb=$(df -Pk "$1" | awk 'NR == 2 { print $4 }')
    case $free_kb in
    '' | *[!0-9]*) ;;
    *) [ "$free_kb" -ge "$(($2 * 1000))" ] ;;
    esac
}

check_disk() { # folder, MB
    has_free "$(nearest "$1")" "$2" || fail full "$1" "$2"
}

check_systemd() {
    [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1 || fail systemd
    systemd=$(systemctl --version | awk 'NR == 1 { print $2 }')
    case $systemd in
    '' | *[!0-9]*) ;;
    *) [ "$systemd" -ge 247 ] || tell old_systemd "$systemd" ;;
    esac
}

check_clock() {
    today=$(date -u +%Y-%m-%d)
    [ "$(printf '%s' "$today" | tr -d -)" -ge "$(printf '%s' "$released" | tr -d -)" ] || fail clock "$today" "$released"
}

# Whoever can change a folder above the code could change the code.
check_owner() {
    for folder in /opt "$place"; do
        if [ -d "$folder" ]; then
            [ "$(stat -c %u "$folder/.")" = 0 ] && [ -z "$(find "$folder/." -prune \( -perm -020 -o -perm -002 \))" ] || fail writable "$folder"
        fi
    done
}

version_in() { sed -n 's/^version = "\([0-9A-Za-z.+-]*\)"$/\1/p' "$1" | head -n 1; }

older() { # first, second: by their numbers
    "$python" -I -c '
import re, sys
first, second = ([int(part) for part in re.findall(r"\d+", word)] for word in sys.argv[1:])
sys.exit(not first < second)' "$1" "$2"
}

is_noted() { [ -f "$manifest" ] && grep -Fqx "$1" "$manifest"; }

look() {
    version=$(version_in "$root/pyproject.toml")
    here=
    [ ! -f "$manifest" ] || [ ! -f "$place/pyproject.toml" ] || here=$(version_in "$place/pyproject.toml")
    unfinished=
    [ ! -e "$place/.pending" ] || unfinished=1
    if [ -e "$place" ] || [ -L "$place" ]; then
        [ -d "$place" ] && [ ! -L "$place" ] && { [ -f "$manifest" ] || [ -z "$(ls -A "$place")" ]; } || fail in_the_way "$place"
    fi
    [ ! -L "$config" ] && { [ -d "$config" ] || [ ! -e "$config" ]; } || fail in_the_way "$config"
    if [ -n "$here" ] && [ "$here" != "$version" ] && older "$version" "$here"; then
        fail downgrade "$here" "$version"
    fi
}

# ---- planning and doing

# True when it is to be done; while planning it says what would be.
will() {
    changes=$((changes + 1))
    if [ -z "$doing" ]; then
        say "  $1"
        return 1
    fi
    [ -n "$uninstall" ] || [ ! -d "$place" ] || [ -e "$place/.pending" ] || : >"$place/.pending"
}

note() { is_noted "$1" || printf '%s\n' "$1" >>"$manifest"; }

make_folder() { # it, and those above it that are missing
    [ ! -d "$1" ] || return 0
    case "$folders_told " in
    *" $1 "*) return 0 ;;
    esac
    make_folder "$(dirname "$1")"
    [ -n "$doing" ] || folders_told="$folders_told $1"
    if will "$(sentence folder "$1")"; then
        [ ! -d "$place" ] || note "d $1"
        mkdir -m 755 "$1" || fail write "$1"
    fi
}

clear_way() { # path, what is to lie there
    [ -e "$1" ] || [ -L "$1" ] || return 0
    is_noted "$2 $1" && return 0
    [ "$2" = f ] && [ -f "$1" ] && [ ! -L "$1" ] && cmp -s "$3" "$1" || fail in_the_way "$1"
}

lay() { # source, target, mode
    laid="$laid
$2"
    if [ -f "$2" ] && [ ! -L "$2" ] && cmp -s "$1" "$2" && [ "$(stat -c '%u:%g %a' "$2")" = "0:0 $3" ]; then
        [ -z "$doing" ] || note "f $2"
        return 0
    fi
    clear_way "$2" f "$1"
    make_folder "$(dirname "$2")"
    case $2 in
    "$units/$own_socket") reload=1 socket_laid=1 ;;
    "$units"/*) reload=1 ;;
    esac
    if will "$(sentence lay "$2")"; then
        note "f $2"
        set_aside "$2"
        install -m "$3" -o root -g root "$1" "$2.opanel-new" && mv -f "$2.opanel-new" "$2" || fail write "$2"
    fi
}

lay_link() { # target of the link, link
    laid="$laid
$2"
    [ "$(readlink "$2" 2>/dev/null)" != "$1" ] || { [ -z "$doing" ] || note "l $2"; return 0; }
    clear_way "$2" l
    make_folder "$(dirname "$2")"
    if will "$(sentence link "$2" "$1")"; then
        note "l $2"
        ln -s "$1" "$2.opanel-new" && replace "$2.opanel-new" "$2" || fail write "$2"
    fi
}

# In one step, whatever lies there; mv would go into the folder that a link points at.
replace() { "$python" -I -c 'import os, sys; os.replace(sys.argv[1], sys.argv[2])' "$1" "$2"; }

# What is replaced stays until the new agent runs.
set_aside() {
    if [ -n "$here" ] && [ -f "$1" ]; then
        mkdir -p "$place/.before$(dirname "$1")"
        cp -p "$1" "$place/.before$1"
    fi
}

# ---- the packages and the environment

wheels_py() { "$python" -I "$root/packaging/wheels.py" "$@"; }

stamp() {
    readlink -f "$python"
    "$python" -VV
    cksum <"$root/packaging/agent.lock"
    printf '%s\n' "$version"
}

# Whether every package is there, and every file of theirs as it was installed: so the same command repairs.
env_is_whole() {
    "$place/env/bin/python" -I -c '
import base64, csv, hashlib, pathlib, sys
import cryptography, h11, httpx, platformdirs, psutil, structlog, tomli_w
records = pathlib.Path(sys.prefix).glob("lib/python3*/site-packages/*.dist-info/RECORD")
for record in records:
    for name, digest, _ in csv.reader(record.read_text("utf-8").splitlines()):
        if digest:
            found = hashlib.sha256((record.parents[1] / name).read_bytes()).digest()
            if digest != "sha256=" + base64.urlsafe_b64encode(found).decode().rstrip("="):
                sys.exit(1)
' 2>/dev/null
}

# Is what is installed what would be installed now?
env_is_current() {
    [ -x "$place/env/bin/python" ] && [ "$(cat "$place/env/stamp" 2>/dev/null)" = "$(stamp)" ] && env_is_whole || return 1
    own=opanel_agent-$version-py3-none-any.whl
    if [ -n "$wheels" ]; then
        cmp -s "$wheels/$own" "$place/wheels/$own"
    elif [ -d "$root/agent" ]; then
        cmp -s "$root/pyproject.toml" "$place/pyproject.toml" &&
            diff -rq -x __pycache__ "$root/agent/opanel_agent" "$place"/env/lib/python3*/site-packages/opanel_agent >/dev/null 2>&1
    elif [ "$root" != "$place" ]; then
        cmp -s "$root/wheels/$own" "$place/wheels/$own"
    fi
}

# How the packages come: not at all, from a folder as it is, built with those that were kept, or fetched.
choose_supply() {
    supply=none
    hosts=
    ! env_is_current || return 0
    if [ -n "$wheels" ]; then
        wheels_py --fit "$wheels" || fail wheels "$wheels" "$("$python" -I -c 'import platform; print(platform.python_version())')"
        supply=copy
    elif [ ! -d "$root/agent" ] && wheels_py --fit "$root/wheels" 2>/dev/null; then
        wheels=$root/wheels
        supply=copy
    elif [ -d "$root/agent" ] && [ -d "$place/wheels" ] && wheels_py --fit "$place/wheels" --build 2>/dev/null; then
        supply=kept
    else
        supply=fetch
        hosts=$(wheels_py --hosts) || fail packages
    fi
    number=1
    while [ -e "$place/env-$version-$number" ]; do
        number=$((number + 1))
    done
    new=$place/env-$version-$number
}

provide_wheels() {
    packages=$place/wheels
    [ "$supply" != none ] && [ "$supply $wheels" != "copy $place/wheels" ] || return 0
    packages=$place/wheels.new
    [ -z "$doing" ] || rm -rf "$packages"
    case $supply in
    copy)
        if will "$(sentence take "$wheels" "$place/wheels")"; then
            wheels_py -o "$packages" --copy "$wheels" || abandon packages
        fi
        ;;
    kept)
        if will "$(sentence build "$version" "$root")"; then
            wheels_py -o "$packages" --kept "$place/wheels" || abandon packages
        fi
        ;;
    fetch)
        if will "$(sentence fetch "$place/wheels")"; then
            wheels_py -o "$packages" || abandon packages
        fi
        ;;
    esac
}

provide_env() {
    [ "$supply" != none ] || return 0
    if will "$(sentence env "$new" "$("$python" -I -c 'import platform; print(platform.python_version())')")"; then
        "$python" -I -m venv --without-pip "$new" &&
            "$new/bin/python" -I "$root/packaging/wheels.py" --install "$packages" &&
            [ "$("$new/bin/python" -I -m opanel_agent --version)" = "opanel-agent $version" ] &&
            stamp >"$new/stamp" || abandon env "$new"
    fi
}

# Before anything that is in use was touched: what this run made goes again.
abandon() {
    if [ -z "$unfinished" ]; then
        rm -rf "$new" "$place/wheels.new" "$place/.pending"
        if [ -z "$here" ]; then
            rm -rf "$place"
            [ -z "$parent" ] || rmdir "$parent" 2>/dev/null || true
        fi
    fi
    fail "$@"
}

use_env() {
    [ "$supply" != none ] || return 0
    reload=1
    if will "$(sentence swap "$place/env")"; then
        if [ "$packages" != "$place/wheels" ]; then
            rm -rf "$place/wheels.old"
            [ ! -d "$place/wheels" ] || mv "$place/wheels" "$place/wheels.old"
            mv "$packages" "$place/wheels" || fail write "$place/wheels"
        fi
        old_env=$(readlink "$place/env" 2>/dev/null) || old_env=
        rm -f "$place/env.opanel-new"
        ln -s "${new##*/}" "$place/env.opanel-new" && replace "$place/env.opanel-new" "$place/env" || fail write "$place/env"
    fi
}

# ---- the system's files, users and folders

# A whole kit without the source: it repairs and removes what was installed, and contacts nobody.
lay_kit() {
    lay "$root/install.sh" "$place/install.sh" 755
    lay "$root/pyproject.toml" "$place/pyproject.toml" 644
    lay "$root/packaging/wheels.py" "$place/packaging/wheels.py" 755
    lay "$root/packaging/agent.lock" "$place/packaging/agent.lock" 644
    lay "$root/config/agent.toml" "$place/config/agent.toml" 644
    [ ! -f "$root/release.jws" ] || lay "$root/release.jws" "$place/release.jws" 644
    for file in "$root"/systemd/*; do
        lay "$file" "$place/systemd/${file##*/}" 644
    done
    for file in $(share_files); do
        lay "$root/packaging/share/$file" "$place/packaging/share/$file" 644
    done
}

share_files() { [ ! -d "$root/packaging/share" ] || (cd "$root/packaging/share" && find . -type f | sed 's|^\./||' | LC_ALL=C sort); }

lay_system() {
    for file in "$root"/systemd/*.service "$root"/systemd/*.socket "$root"/systemd/*.path; do
        lay "$file" "$units/${file##*/}" 644
    done
    lay "$root/systemd/opanel-agent.sysusers.conf" /usr/lib/sysusers.d/opanel-agent.conf 644
    lay "$root/systemd/opanel-agent.tmpfiles.conf" /usr/lib/tmpfiles.d/opanel-agent.conf 644
    for file in $(share_files); do
        lay "$root/packaging/share/$file" "/usr/local/share/$file" 644
    done
    lay_link "$place/env/bin/opanel-agent" "$link"
}

# What an earlier version laid and this one does not.
drop_stale() {
    [ -f "$manifest" ] || return 0
    # shellcheck disable=SC2013 # no path of ours has a space
    for path in $(sed -n 's/^[fl] //p' "$manifest"); do
        printf '%s\n' "$laid" | grep -Fqx "$path" || ! { [ -e "$path" ] || [ -L "$path" ]; } || drop "$path"
    done
}

drop() {
    case $1 in
    "$units"/*) reload=1 ;;
    esac
    if will "$(sentence drop "$1")"; then
        set_aside "$1"
        rm -f "$1" || fail write "$1"
    fi
}

has_account() { getent "$1" "$2" >/dev/null 2>&1; }

accounts() {
    has_account passwd opanel-agent && has_account passwd opanel-courier && has_account group opanel && return 0
    if will "$(sentence accounts)"; then
        has_account group opanel || note 'g opanel'
        systemd-sysusers /usr/lib/sysusers.d/opanel-agent.conf || fail step systemd-sysusers
    fi
}

is_folder_as() { [ -d "$1" ] && [ "$(stat -c '%U:%G %a' "$1")" = "$2" ]; }

# Whether this environment, or that of the shell behind sudo, which drops it, asks not to be tracked: any value of these
# but empty or 0, as the agent reads them.
is_untracked() {
    {
        env
        [ -z "${SUDO_UID-}${DOAS_USER-}${PKEXEC_UID-}" ] || tr '\0' '\n' 2>/dev/null <"/proc/$PPID/environ" || true
    } | grep -iE '^(OPANEL_AGENT_)?DO_NOT_TRACK=' | grep -qv '=0\{0,1\}$'
}

make_folders() {
    missing=
    while IFS='|' read -r folder form; do
        is_folder_as "$folder" "$form" || missing="$missing $folder"
    done <<END
$folders
END
    if [ -n "$missing" ] && will "$(sentence folders "${missing# }")"; then
        systemd-tmpfiles --create /usr/lib/tmpfiles.d/opanel-agent.conf || fail step systemd-tmpfiles
    fi
    if [ ! -e "$config/agent.toml" ] && [ ! -L "$config/agent.toml" ] && will "$(sentence lay "$config/agent.toml")"; then
        install -m 644 -o root -g root "$root/config/agent.toml" "$config/agent.toml" || fail write "$config/agent.toml"
    fi
    if is_untracked && [ ! -e "$config/do-not-track" ] && [ ! -L "$config/do-not-track" ] &&
        will "$(sentence untracked "$config/do-not-track")"; then
        install -m 644 -o root -g root /dev/null "$config/do-not-track" || fail write "$config/do-not-track"
    fi
}

# What was enabled once is the administrator's to disable: it is restarted where it runs, and never enabled again.
start_units() {
    [ -z "$unfinished" ] || reload=1
    running=
    for unit in $own_socket $sockets $service $watch; do
        ! systemctl -q is-active "$unit" 2>/dev/null || running="$running $unit"
    done
    answered=
    case " $running " in
    *" $service "*) answered=$(written "$answer") ;;
    esac
    if [ -n "$reload" ] && will "$(sentence reload)"; then
        systemctl daemon-reload || fail step 'systemctl daemon-reload'
    fi
    hold_socket
    for unit in $sockets $service; do
        if ! is_noted "e $unit"; then
            if will "$(sentence enable "$unit")"; then
                systemctl -q enable "$unit" && systemctl start "$unit" || roll_back
                note "e $unit"
            fi
        elif [ -n "$reload" ] && will "$(sentence restart "$unit")"; then
            systemctl try-restart "$unit" || roll_back
            [ "$unit" != "$service" ] || [ -z "$answered" ] || await_answer || roll_back
        fi
    done
    watch_changes
}

# Where the kernel has no watch left (one container among many), the agent works all the same and follows a change later.
watch_changes() {
    if ! is_noted "e $watch"; then
        if will "$(sentence enable "$watch")"; then
            systemctl -q enable "$watch" && systemctl start "$watch" || tell not_watched
            note "e $watch"
        fi
    elif [ -n "$reload" ] && will "$(sentence restart "$watch")"; then
        systemctl try-restart "$watch" || tell not_watched
    fi
}

# The agent's own socket is never closed for an upgrade. Only where it is new, or its unit has changed, the service ends
# first: systemd holds no socket whose service runs without it.
hold_socket() {
    if is_noted "e $own_socket"; then
        case "$socket_laid $running " in
        "1 "*" $own_socket "*) ;;
        *) return 0 ;;
        esac
        will "$(sentence restart "$own_socket")" || return 0
    else
        will "$(sentence enable "$own_socket")" || return 0
        new_socket=1
        systemctl -q enable "$own_socket" || roll_back
    fi
    systemctl stop "$service" "$own_socket" || roll_back
    systemctl start "$own_socket" || roll_back
    note "e $own_socket"
    case " $running " in
    *" $service "*) systemctl start "$service" || roll_back ;;
    esac
}

written() { stat -c '%i %y' "$1" 2>/dev/null || true; }

# An agent that dies of its first work has started, too. Its daemon writes the answer anew, once there is one.
await_answer() {
    seconds=0
    while [ "$(written "$answer")" = "$answered" ]; do
        seconds=$((seconds + 1))
        [ "$seconds" -le 60 ] && sleep 1 && systemctl -q is-active "$service" || return 1
    done
}

roll_back() {
    if [ -n "$here" ] && [ -n "${old_env-}" ]; then
        tell back
        (cd "$place/.before" 2>/dev/null && find . -type f | sed 's|^\.||') | while read -r path; do
            cp -p "$place/.before$path" "$path"
        done
        if [ -d "$place/wheels.old" ]; then
            rm -rf "$place/wheels"
            mv "$place/wheels.old" "$place/wheels"
        fi
        rm -f "$place/env.opanel-new"
        ln -s "$old_env" "$place/env.opanel-new"
        replace "$place/env.opanel-new" "$place/env"
        systemctl daemon-reload
        if [ -n "${new_socket-}" ]; then   # what was here before binds the path itself
            systemctl -q disable "$own_socket" || true
            systemctl stop "$own_socket" "$service" || true
            sed -i "/^e $own_socket\$/d" "$manifest"
        fi
        for unit in $running; do
            systemctl restart "$unit" || true
        done
        tidy
        fail upgrade
    fi
    fail start
}

# What is no longer used: earlier environments and packages, what a run that was cut short left.
tidy() {
    kept=$(readlink "$place/env") || kept=
    for path in "$place"/env-* "$place/wheels.new" "$place/wheels.old" "$place/.before" "$place"/.wheels.new.*; do
        [ "${path##*/}" = "$kept" ] || [ ! -e "$path" ] || rm -rf "$path"
    done
    rm -f "$place/.pending"
}

# ---- installing

make_place() {
    parent=
    [ -d "${place%/*}" ] || parent=${place%/*}
    make_folder "$place"
    if [ -n "$doing" ] && [ ! -f "$manifest" ]; then
        : >"$manifest" && chmod 644 "$manifest" || fail write "$manifest"
        [ -z "$parent" ] || note "d $parent"
    fi
}

apply() {
    changes=0
    laid=
    reload=
    socket_laid=
    folders_told=
    make_place
    provide_wheels
    provide_env
    lay_kit
    lay_system
    drop_stale
    accounts
    make_folders
    use_env
    start_units
}

say_plan() {
    if [ -n "$unfinished" ]; then tell unfinished; fi
    case $here in
    '') tell fresh "$version" ;;
    "$version") tell same "$version" ;;
    *) tell upgrade "$here" "$version" ;;
    esac
    tell plan
    doing=
    apply
    [ "$changes" -gt 0 ] || [ -n "$unfinished" ] || say "  $(sentence nothing)"
    if [ -n "$hosts" ]; then
        tell hosts "$(printf '%s' "$hosts" | tr '\n' ' ' | sed 's/ *$//; s/ /, /g; s/, (/ (/g')"
    else
        tell no_hosts
    fi
    [ -z "$license_file" ] || tell then_license "$license_file"
    if [ -n "$preseed" ]; then tell then_preseed "$preseed"; elif is_untracked; then tell then_untracked; else tell then_setup; fi
    [ -z "$license_key" ] || tell then_key
}

one_at_a_time() {
    [ -z "$dry_run" ] && command -v flock >/dev/null 2>&1 || return 0
    exec 9</usr
    flock -n 9 || fail busy
}

agent() { "$place/env/bin/python" -I -m opanel_agent "$@" --lang "$lang"; }

# Whether the answers that stand are to the notice that is installed.
is_answered() {
    agent consent show --json 2>/dev/null | "$python" -I -c '
import json, sys
told = json.load(sys.stdin)["result"]
sys.exit(told["notice"] != told["installed_notice"])' 2>/dev/null
}

ask() {
    if [ -n "$preseed" ]; then
        set -- --preseed "$preseed"
    elif is_answered; then
        return 0
    fi
    asked=0
    agent setup "$@" >&2 || asked=$?
    case $asked in
    0) ;;
    78) tell consent_refused ;;
    *) tell setup_left ;;
    esac
}

install_license() {
    came_to=0
    agent license install "$1" >&2 || came_to=$?
    case $came_to in
    0 | 75) ;;
    *)
        tell license_left
        after=$came_to
        ;;
    esac
}

install_agent() {
    [ -n "$dry_run" ] || [ "$(id -u)" = 0 ] || fail root
    check_readable pyproject.toml packaging/wheels.py packaging/agent.lock config/agent.toml systemd/opanel-agent.service
    # Who only looks may do so on any machine, and reads at the end that this one could not run the service.
    [ -n "$dry_run" ] && ! is_running_systemd || check_systemd
    find_python system_python /usr/bin/python3
    check_venv
    check_clock
    check_disk "$place" 200
    check_disk "$state" 50
    check_disk "$config" 10
    one_at_a_time
    look
    check_owner
    choose_supply
    say_plan
    if [ -n "$dry_run" ]; then
        tell dry
        is_running_systemd || fail systemd
        exit 0
    fi
    [ "$changes" -eq 0 ] || tell working
    trap 'tell interrupted; exit 130' INT
    doing=1
    apply
    tidy_after
    trap - INT
    after=0
    [ -z "$license_file" ] || install_license "$license_file"
    ask
    [ -z "$license_key" ] || install_license "$license_key"
    tell installed "$version" "$changes"
    tell what "$manifest"
    tell undo "$place/install.sh"
    exit "$after"
}

tidy_after() { [ "$changes" -eq 0 ] && [ -z "$unfinished" ] || tidy; }

# ---- removing

is_running_systemd() { [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; }

stop_units() {
    [ -e "$units/$service" ] || return 0
    if will "$(sentence stop "$own_socket $service $sockets $watch")"; then
        if is_running_systemd; then
            # shellcheck disable=SC2086 # a list of names
            systemctl stop $watch $own_socket $service $sockets 'opanel-agent-fetch@*.service' 'opanel-agent-courier@*.service' || fail step 'systemctl stop'
        fi
        [ ! -f "$manifest" ] || sed -i '/^e /d' "$manifest"   # should it be installed again, they are enabled again
    fi
}

export_data() {
    [ -n "$purge" ] && [ -z "$no_export" ] || return 0
    exported=
    if [ ! -d "$state" ] || [ -z "$(ls -A "$state" 2>/dev/null)" ]; then
        [ -n "$doing" ] || say "  $(sentence nothing_kept)"
        return 0
    fi
    [ -x "$place/env/bin/python" ] || fail no_agent "$state"
    folder=/root
    [ -d "$folder" ] || folder=$(pwd)
    exported=$folder/opanel-agent-$(date -u +%Y%m%dT%H%M%SZ).export
    if will "$(sentence export "$folder/opanel-agent-….export")"; then
        agent data export -o "$exported" >&2 || fail export
    fi
}

remove_laid() {
    [ -f "$manifest" ] || return 0
    if [ -z "$doing" ]; then
        sed -n 's/^[fl] //p' "$manifest" | grep -v "^$place/" | while read -r path; do
            will "$(sentence drop "$path")" || true
        done
    else
        # shellcheck disable=SC2086 # a list of names
        systemctl -q disable $own_socket $service $sockets $watch 2>/dev/null || true
        # Last laid, first removed: so a folder that was made for them is empty when its turn comes.
        awk '{ line[NR] = $0 } END { for (i = NR; i > 0; i--) print line[i] }' "$manifest" | while read -r kind path; do
            remove_one "$kind" "$path"
        done
    fi
    changes=$((changes + $(grep '^[fl] ' "$manifest" | grep -vc " $place/" || true)))
}

remove_one() { # kind, path
    case $1:$2 in
    *:"$place" | *:"$place"/*) ;;
    f:*) rm -f "$2" ;;
    l:*) if [ ! -L "$2" ] && [ -e "$2" ]; then tell not_ours "$2"; else rm -f "$2"; fi ;;
    d:*) rmdir "$2" 2>/dev/null || true ;;
    esac
}

# A link is removed and never followed, and another file system is not entered.
remove_tree() {
    [ -e "$1" ] || [ -L "$1" ] || return 0
    if will "$(sentence drop "$1")"; then
        rm -rf --one-file-system "$1" || fail write "$1"
    fi
}

is_ours_to_remove() { # the group opanel: made by the installer, or nobody is in it; and no account's own, as a panel's may be
    ! getent passwd | cut -d : -f 4 | grep -Fqx "$(getent group opanel | cut -d : -f 3)" || return 1
    [ "$shared_group" = ours ] || [ -z "$(getent group opanel | cut -d : -f 4)" ]
}

is_our_account() { # by the words that sysusers.d gives it; one that was here before has others
    has_account passwd "$1" && case $(getent passwd "$1" | cut -d : -f 5) in 'OPanel license agent'*) ;; *) return 1 ;; esac
}

remove_accounts() {
    for name in opanel-agent opanel-courier; do
        if is_our_account "$name" && will "$(sentence account "$name")"; then
            userdel "$name" || fail step "userdel $name"
        fi
    done
    for name in opanel-agent opanel-courier opanel; do
        has_account group "$name" || continue
        ! has_account passwd "$name" || [ "$name" = opanel ] || is_our_account "$name" || continue
        [ "$name" != opanel ] || is_ours_to_remove || continue
        [ -n "$doing" ] || [ "$name" = opanel ] || continue   # goes with its user
        if will "$(sentence account "$name")"; then
            groupdel "$name" || fail step "groupdel $name"
        fi
    done
}

remove() {
    changes=0
    stop_units
    export_data
    remove_laid
    if is_running_systemd && [ -n "$doing" ]; then
        systemctl daemon-reload
        systemctl reset-failed 'opanel-agent*' 2>/dev/null || true
    fi
    remove_tree /run/opanel-agent
    remove_tree /run/opanel-courier
    remove_tree /run/opanel-machine
    if [ -n "$purge" ]; then
        remove_tree "$config"
        remove_tree "$state"
        remove_tree "$withdrawals"
        remove_accounts
    fi
    remove_tree "$place"
    if [ -n "$doing" ] && [ -n "$made_opt" ]; then
        rmdir /opt 2>/dev/null || true
    fi
}

uninstall() {
    [ -n "$dry_run" ] || [ "$(id -u)" = 0 ] || fail root
    shared_group=
    ! is_noted 'g opanel' || shared_group=ours
    made_opt=
    ! is_noted 'd /opt' || made_opt=1
    exported=
    one_at_a_time
    tell plan
    doing=
    remove
    [ "$changes" -gt 0 ] || say "  $(sentence nothing)"
    [ -z "$purge" ] || [ ! -f "$state/activation.key" ] || tell seat
    tell no_hosts
    if [ -n "$dry_run" ]; then
        tell dry
        exit 0
    fi
    doing=1
    remove
    tell gone "$changes"
    [ -z "$exported" ] || tell exported "$exported"
    [ -n "$purge" ] || tell stays "$config, $state, $withdrawals"
}

# ---- the demo: its environment is kept, and made anew when what it was made from has changed

check_demo_place() {
    case $root/ in
    /usr/* | /opt/opanel-agent/*) fail demo_place "$root" ;;
    esac
    near=$(nearest "$root/.env/demo")
    if [ ! -d "$near" ] || [ ! -w "$near" ] || [ ! -x "$near" ]; then
        fail demo_write "$near"
    fi
    has_free "$near" 200 || fail demo_full "$near"
    check_readable README.md LICENSE pyproject.toml setup.cfg authority/pyproject.toml packaging/demo.py packaging/demo.lock
}

# The sources count by content, since the environment holds a copy of them, compiled.
demo_stamp() {
    {
        "$python" -VV
        printf '%s\n' "$root"
        cd "$root"
        find install.sh pyproject.toml setup.cfg packaging/demo.lock agent authority -type f \
            ! -name '*.pyc' ! -path '*.egg-info/*' ! -path '*/build/*' -exec cksum {} + | LC_ALL=C sort
    } | cksum
}

make_demo_env() {
    env=$root/.env/demo
    wanted=$(demo_stamp)
    if [ "$(cat "$env/stamp" 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    tell demo_env "$("$python" -V)"
    rm -rf "$env"
    "$python" -I -m venv "$env" || fail demo_venv "$env"
    pip install --require-hashes --requirement "$root/packaging/demo.lock" || fail demo_packages
    copy=$env/source
    mkdir "$copy"
    cp -R "$root/agent" "$root/authority" "$root/pyproject.toml" "$root/setup.cfg" "$root/README.md" "$root/LICENSE" "$copy"
    rm -rf "$copy/build" "$copy/authority/build"   # what an earlier build left would be taken along
    pip install --no-index --no-deps --no-build-isolation "$copy" "$copy/authority" || fail demo_install
    rm -rf "$copy"
    printf '%s\n' "$wanted" >"$env/stamp"
}

pip() {
    "$env/bin/python" -I -m pip -qq --disable-pip-version-check --no-input "$@"
}

demo() {
    find_python good_python
    check_venv
    check_demo_place
    make_demo_env
    set --
    [ -z "$keep" ] || set -- "$@" --keep
    [ -z "$lang_asked" ] || set -- "$@" --lang "$lang_asked"
    exec "$env/bin/python" -I "$root/packaging/demo.py" "$@"
}

# ---- the command line

language_of() { # what --lang says, else the locale as POSIX orders its variables, else English
    case ${1:-${LC_ALL:-${LC_MESSAGES:-${LANG:-}}}} in
    tr | tr_* | tr.* | TR | TR_*) echo tr ;;
    *) echo en ;;
    esac
}

absolute() {
    case $1 in
    /*) printf '%s\n' "$1" ;;
    *) printf '%s\n' "$(pwd)/$1" ;;
    esac
}

# A file that is there is a file, with a document or a key; else it must look like a key. license_key is either.
take_license() {
    license_file=
    license_key=
    if [ -f "$1" ] && [ -r "$1" ]; then
        if is_like_key <"$1"; then license_key=$(absolute "$1"); else license_file=$(absolute "$1"); fi
    elif printf '%s' "$1" | is_like_key; then
        license_key=$1
    else
        fail license "$1"
    fi
}

is_like_key() { tr -d '\r\n' | head -c 64 | grep -Eqx ' *[0-9A-Za-z -]{24,48} *'; }

only_with() { # option, whether it was used, whether what it belongs to was
    [ -z "$2" ] || [ -n "$3" ] || fail together "$1"
}

never_with() {
    [ -z "$2" ] || [ -z "$3" ] || fail together "$1"
}

check_options() {
    install_it=1
    [ -z "$wants_demo$uninstall" ] || install_it=
    never_with --uninstall "$uninstall" "$wants_demo"
    only_with --keep "$keep" "$wants_demo"
    only_with --purge "$purge" "$uninstall"
    only_with --no-export "$no_export" "$purge"
    only_with --wheels "$wheels" "$install_it"
    only_with --license "$license" "$install_it"
    only_with --preseed "$preseed" "$install_it"
    never_with --dry-run "$dry_run" "$wants_demo"
    license_file=
    license_key=
    [ -z "$license" ] || take_license "$license"
    if [ -n "$preseed" ]; then
        [ -f "$preseed" ] && [ -r "$preseed" ] || fail preseed "$preseed"
        preseed=$(absolute "$preseed")
    fi
    [ -z "$wheels" ] || wheels=$(absolute "$wheels")
}

read_options() {
    while [ $# -gt 0 ]; do
        option=$1
        value=
        case $option in
        --lang=* | --wheels=* | --license=* | --preseed=*)
            value=${option#*=}
            option=${option%%=*}
            ;;
        --lang | --wheels | --license | --preseed)
            if [ $# -lt 2 ]; then
                [ "$option" != --lang ] || fail no_language
                fail value "$option" …
            fi
            value=$2
            shift
            ;;
        esac
        case $option in
        --lang)
            case $value in
            tr | en) ;;
            *) fail language "$value" ;;
            esac
            lang_asked=$value
            lang=$value
            ;;
        --wheels) wheels=$value ;;
        --license) license=$value ;;
        --preseed) preseed=$value ;;
        --demo) wants_demo=1 ;;
        --keep) keep=1 ;;
        --dry-run) dry_run=1 ;;
        --uninstall) uninstall=1 ;;
        --purge) purge=1 ;;
        --no-export) no_export=1 ;;
        -h | --help) help=1 ;;
        *)
            usage >&2
            fail option "$option"
            ;;
        esac
        shift
    done
}

main() {
    umask 022
    PATH=$PATH:/usr/sbin:/sbin   # for root by way of su
    export PIP_USER=0   # a person's own default; it has no meaning in an environment and would stop pip
    export PYTHONDONTWRITEBYTECODE=1   # looking changes nothing
    root=$(cd "$(dirname "$0")" && pwd -P)
    for option in wants_demo keep lang_asked wheels license preseed dry_run uninstall purge no_export help; do
        eval "$option="
    done
    lang=$(language_of '')
    read_options "$@"
    if [ -n "$help" ]; then
        usage
        exit 0
    fi
    check_options
    if [ -n "$wants_demo" ]; then
        unset PYTHONDONTWRITEBYTECODE
        demo
    elif [ -n "$uninstall" ]; then
        uninstall
    else
        install_agent
    fi
}

main "$@"
