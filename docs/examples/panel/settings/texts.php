<?php

/** The page's own sentences. What a state or a reason means is in words.php, which is generated. */

declare(strict_types=1);

return [
    'tr' => [
        'title' => 'Lisans ve gizlilik',
        'language' => 'Dil',
        'back' => 'Lisans ve gizlilik sayfasına dön',
        'root' => 'Sunucuda root olarak:',
        'denied' => 'Bu sayfa yalnızca bu sunucunun sistem yöneticisine açıktır.',
        'refused' => 'İstek kabul edilmedi: bu sayfadan gelmedi ya da oturum yenilendi. '
            . 'Sayfaya dönüp yeniden deneyin. Hiçbir şey değiştirilmedi.',
        'yes' => 'evet', 'no' => 'hayır',
        'in' => '%s sonra', 'ago' => '%s önce',
        'days' => '%d gün', 'hours' => '%d saat', 'minutes' => '%d dakika',
        'day' => '%d gün', 'hour' => '%d saat', 'minute' => '%d dakika', 'now' => 'az önce',

        'license' => 'Lisans',
        'silent' => 'Lisans ajanından yanıt alınamıyor',
        'silent.goes_on' => 'Siteler, e-posta ve yedekler çalışmayı sürdürür. '
            . 'Verdiğiniz rızalar değişmez.',
        'from_file' => 'Aşağıdaki lisans bilgisi ajanın %s tarihli son yanıtındandır.',
        'from_nothing' => 'Daha önce alınmış bir yanıt da yok.',
        'not_kept' => 'Panel, ajanın yanıtını saklayamıyor: ajan yanıt vermediğinde neye göre davranacağını bilemez. '
            . 'Panelin %s dosyasına yazabildiğini denetleyin.',
        'state' => 'Durum', 'why' => 'Neden', 'do' => 'Yapılacak', 'call' => 'İletişim',
        'product' => 'Ürün ve paket', 'expires' => 'Geçerlilik sonu', 'renews' => 'Yenilenebileceği tarih',
        'offline_until' => 'Denetim yapılamazsa geçerli olduğu tarih', 'id' => 'Lisans no',
        'features' => 'Özellikler', 'limits' => 'Sınırlar', 'changes' => 'Bu durumun sonu',
        'nothing_to_do' => 'Yapmanız gereken bir şey yok.',
        'not_permitted' => 'Şu anda yapılamayanlar', 'permit.change' => 'var olanı değiştirmek',
        'permit.create' => 'yeni hesap, alan adı, posta kutusu veya veritabanı eklemek',
        'permit.paid_features' => 'ücretli özellikler',
        'goes_on' => 'Siteler, e-posta, yedekler, dışa aktarma ve güvenlik güncellemeleri her durumda çalışır.',
        'address' => 'Adres', 'kep' => 'KEP',

        'leaves' => 'Bu sunucudan gönderilebilecekler',
        'leaves.lead' => 'Rızanıza bağlı bilgiler yalnız siz rıza verirseniz gönderilir. Rıza vermemek ya da rızayı geri almak lisansı ve '
            . 'paneli etkilemez. Her bağlantıda alıcı, sunucunun IP adresini görür.',
        'leaves.unknown' => 'Ajan yanıt vermediği için şu anda neyin gönderilebileceği burada gösterilemiyor. '
            . 'Verdiğiniz yanıtlar geçerliliğini korur.',
        'leaves.deny' => 'Bütün rızaları şimdi geri almak için, sunucuda root olarak:',
        'outdated' => 'Ajan ayarları yeniden okuyor; bu bölüm birkaç saniye öncesini gösteriyor.',
        'offline' => 'Çevrimdışı kip açık: hiçbir istek gönderilmiyor.',
        'given' => 'Rıza verildi', 'not_given' => 'Rıza yok', 'given_stopped' => 'Rıza verildi, gönderilmiyor',
        'goes' => 'Gönderilebilir', 'goes_not' => 'Gönderilmiyor', 'by_command' => 'Yalnızca komutla',
        'withdraw' => 'Rızayı geri al', 'allow' => 'Rıza vermek için…', 'bytes' => 'Baytları göster',
        'allow.root' => 'Rıza yalnızca root tarafından verilir:', 'bytes.root' => 'Baytları görmek için:',
        'line' => 'satır %d', 'place.the panel' => 'panel',
        'usage_statistics' => 'Kullanım istatistiği',
        'usage_statistics.what' => 'Haftada bir: ajan, panel, dağıtım ve çekirdek sürümleri; işlemci mimarisi, '
            . 'sanallaştırma türü, işlemci ve bellek sınıfı, kurulum yöntemi, lisans durumunun sınıfı. '
            . 'Kesin değerler değil, sınıflar. Her rapor gönderilmeden önce bekletilir.',
        'crash_reports' => 'Çökme raporları',
        'crash_reports.what' => 'Ajanın kendisi hata verdiğinde: kendi kodundaki yer ve hatanın türü; ileti, değer, '
            . 'dosya yolu yok. Ayarla kapatmadıkça her birini önce siz incelersiniz.',
        'license_status' => 'Lisans durumu',
        'license_status.what' => 'Günde bir kez, bütün müşteriler için baytı baytına aynı olan birkaç istek: lisansın '
            . 'iptal edilip edilmediğini öğrenmek için.',
        'security_advisories' => 'Güvenlik duyuruları',
        'security_advisories.what' => 'Günde bir kez, herkes için aynı tek istek.',
        'license_renewal' => 'Lisans yenileme',
        'license_renewal.what' => 'Sürenin son bölümünde, yenilenene kadar günde bir: lisans anahtarının ve '
            . 'belgesinin SHA-256 özeti, bir açık anahtar, bir rastgele sayı. Makineye ilişkin bilgi yoktur.',
        'license_activation' => 'Lisans etkinleştirme',
        'license_activation.what' => 'Yalnız root komutu verince; komut, gönderilecek her baytı önce gösterir.',
        'data_rights' => 'Haklarınıza ilişkin başvurular',
        'data_rights.what' => 'Yalnız root komutu verince; komut, gönderilecek her baytı önce gösterir.',
        'unknown_purpose.what' => 'Bu sayfadan daha yeni bir ajanın amacı; aydınlatma metninde açıklanır.',
        'check' => 'Şimdi denetle ve baytları göster',
        'check.what' => 'Ajan lisans durumu ile güvenlik duyurularını hemen sorar; giden istekler olduğu gibi gösterilir.',

        'sent' => 'Gönderilenler',
        'last_check' => 'Son başarılı denetim', 'next_check' => 'Sonraki denetim', 'never' => 'henüz yok',
        'last_failure' => 'Son denetim başarısız',
        'sent.lead' => 'Bu sunucuya ilişkin bilgi taşıyan her istek kayıt defterindedir.',
        'sent.show' => 'Gönderilenleri göster', 'sent.root' => 'Gönderilenleri root görebilir:',
        'sent.none' => 'Bu sunucuya ilişkin hiçbir bilgi gönderilmedi.',
        'sent.some' => 'En yenisi önce: %2$d / %1$d',
        'sent.unknown' => 'Liste alınamadı.', 'sent.when' => 'Zaman',
        'sent.outcome' => 'Sonuç', 'sent.to' => 'Alıcı', 'sent.bytes' => 'Baytları, root olarak',
        'stage.sealed' => 'hazırlandı, gönderilmedi', 'stage.attempted' => 'yanıt gelmedi: gönderilmiş olabilir',
        'stage.sent' => 'gönderildi, kabul edilmedi', 'stage.answered' => 'gönderildi, kabul edildi',

        'dnt' => 'İzlenmeme (Do Not Track)',
        'dnt.what' => 'Açıkken bu sunucuyu başkasından ayıran hiçbir şey gönderilmez: raporlar ve yenileme durur, '
            . 'komutların istekleri dosyaya yazılır. Yalnız herkes için aynı olan istekler sürer.',
        'dnt.on' => 'Açık', 'dnt.off' => 'Kapalı', 'dnt.set' => 'İzlenmemeyi aç',
        'dnt.by' => 'Ayarlandığı yer:', 'dnt.unset' => 'İzlenmemeyi kapat', 'dnt.unset.root' => 'Yalnızca root kapatabilir:',

        'notice' => 'Aydınlatma metni',
        'notice.lead' => 'Neyin, hangi amaçla, hangi hukuki sebeple, ne kadar süre işlendiği ve kime aktarıldığı.',
        'notice.show' => 'Aydınlatma metnini oku', 'notice.root' => 'Metni sunucuda okumak için:',
        'notice.unknown' => 'Aydınlatma metni alınamadı.',

        'rights' => 'Haklarınız',
        'rights.lead' => 'Bu sunucudan gönderilenler hakkında bilgi isteyebilir, düzeltilmesini, silinmesini, '
            . 'kullanımının kısıtlanmasını isteyebilir, kullanımına itiraz edebilirsiniz (KVKK m.11 ve 13, GDPR '
            . '15-22). Yanıt en geç 30 gün içinde ve ücretsizdir.',
        'rights.command' => 'Sunucudan, root olarak; her komut neyin gönderileceğini önce gösterir:',
        'rights.access' => 'hangi verilerin tutulduğunu sorar', 'rights.erase' => 'sildirir', 'rights.rectify' => 'düzelttirir',
        'rights.restrict' => 'kullanımını kısıtlatır', 'rights.object' => 'kullanımına itiraz eder',
        'rights.export' => 'her şeyi bir sayfada gösterir, denetçi için',
        'rights.write' => 'Komut satırı gerekmez; yazıyla, KEP veya e-posta ile de başvurabilirsiniz. Bayinin adresi:',
        'rights.notice' => 'Panelin üreticisinin adresi ve şikâyet yolu aydınlatma metnindedir.',
        'rights.no_controller' => 'Bayinizin başvuru adresi lisansta yazmıyor; bayinize sorun.',

        'allow.title' => 'Rıza: %s',
        'allow.lead' => 'Rıza, aşağıdaki aydınlatma metnine verilir. İstediğiniz anda, neden göstermeden, tek '
            . 'tıklamayla geri alabilirsiniz.',
        'allow.read' => 'Aydınlatma metnini okudum; şunların gönderilmesine açık rıza veriyorum: %s.',
        'allow.give' => 'Rıza ver',
        'allow.none' => 'Metin gösterilemeden rıza alınamaz.',

        'ok.withdraw' => '%s: rıza geri alındı. Bekleyenler silindi, yenisi gönderilmez.',
        'ok.do_not_track' => 'İzlenmeme açıldı. Bu sunucuyu başkasından ayıran hiçbir şey gönderilmez.',
        'ok.dnt_off' => 'İzlenmeme kapatıldı.',
        'ok.allow' => '%s: rıza verildi.',
        'ok.preview' => 'Bir sonraki rapor, olduğu gibi. Bunu göstermekle bir şey gönderilmedi.',
        'ok.check' => 'Denetlendi. Giden istekler, olduğu gibi:',
        'bad.withdraw' => 'Geri alma doğrulanamadı. Sunucuda root olarak çalıştırın: opanel-agent consent deny --all',
        'bad.do_not_track' => 'İzlenmeme doğrulanamadı. Sunucuda root olarak çalıştırın: opanel-agent dnt on',
        'bad.dnt_off' => 'İzlenmeme hâlâ açık. Nedenini root görebilir: opanel-agent dnt explain',
        'bad.allow' => 'Rıza kaydedilemedi. Sunucuda root olarak çalıştırın: opanel-agent consent allow %s',
        'bad.consent' => 'Rıza verilmedi: kutu işaretlenmedi ya da aydınlatma metni bu arada değişti.',
        'bad.preview' => 'Rapor gösterilemedi. Sunucuda root olarak çalıştırın: opanel-agent data preview %s',
        'bad.check' => 'Denetlenemedi. Sunucuda root olarak çalıştırın: opanel-agent license refresh',
        'bad.too_soon' => 'Denetim dakikada bir yapılabilir. Bir dakika sonra yeniden deneyin.',
    ],
    'en' => [
        'title' => 'License and privacy',
        'language' => 'Language',
        'back' => 'Back to license and privacy',
        'root' => 'On the server, as root:',
        'denied' => 'This page is for the administrator of this server alone.',
        'refused' => 'The request was not accepted: it did not come from this page, or the session was renewed. '
            . 'Go back to the page and try again. Nothing was changed.',
        'yes' => 'yes', 'no' => 'no',
        'in' => 'in %s', 'ago' => '%s ago',
        'days' => '%d days', 'hours' => '%d hours', 'minutes' => '%d minutes',
        'day' => '%d day', 'hour' => '%d hour', 'minute' => '%d minute', 'now' => 'just now',

        'license' => 'License',
        'silent' => 'The license agent does not answer',
        'silent.goes_on' => 'Sites, mail and backups keep working. Your consents do not change.',
        'from_file' => 'The license below is from the agent’s last answer, of %s.',
        'from_nothing' => 'There is no earlier answer either.',
        'not_kept' => 'The panel cannot save the agent’s answer, so it will have nothing to rely on if the agent does '
            . 'not answer. Check that the panel can write to %s.',
        'state' => 'State', 'why' => 'Why', 'do' => 'What to do', 'call' => 'Contact',
        'product' => 'Product and tier', 'expires' => 'Valid until', 'renews' => 'May be renewed from',
        'offline_until' => 'Valid without a check until', 'id' => 'License id',
        'features' => 'Features', 'limits' => 'Limits', 'changes' => 'This state ends',
        'nothing_to_do' => 'Nothing needs to be done.',
        'not_permitted' => 'Not possible now', 'permit.change' => 'changing what exists',
        'permit.create' => 'adding an account, domain, mailbox or database',
        'permit.paid_features' => 'paid features',
        'goes_on' => 'Sites, mail, backups, exports and security updates work in every state.',
        'address' => 'Address', 'kep' => 'Registered e-mail (KEP)',

        'leaves' => 'What may be sent from this server',
        'leaves.lead' => 'What needs your consent is sent only if you give it. Refusing or withdrawing consent changes nothing in the '
            . 'license or the panel. With each connection the recipient sees the server’s IP address.',
        'leaves.unknown' => 'The agent does not answer, so this page cannot show what may be sent now. '
            . 'Your answers remain in force.',
        'leaves.deny' => 'To withdraw every consent now, on the server, as root:',
        'outdated' => 'The agent is reading the settings again; this section shows the state of a few seconds ago.',
        'offline' => 'Offline mode is on: no requests are made.',
        'given' => 'Consent given', 'not_given' => 'No consent', 'given_stopped' => 'Consent given, not sent',
        'goes' => 'May be sent', 'goes_not' => 'Not sent', 'by_command' => 'By command only',
        'withdraw' => 'Withdraw consent', 'allow' => 'Give consent…', 'bytes' => 'Show the exact bytes',
        'allow.root' => 'Only root can give consent:', 'bytes.root' => 'To see the exact bytes:',
        'line' => 'line %d', 'place.the panel' => 'the panel',
        'usage_statistics' => 'Usage statistics',
        'usage_statistics.what' => 'Once a week: versions of agent, panel, distribution and kernel; processor '
            . 'architecture, type of virtualization, classes of processors and memory, installation method, class of '
            . 'the license state. Classes, not exact values. Each report is held before it is sent.',
        'crash_reports' => 'Crash reports',
        'crash_reports.what' => 'When the agent itself fails: the place in its own code and the kind of error; no '
            . 'message, value or file path. Unless you turn that off, you review each one first.',
        'license_status' => 'License status',
        'license_status.what' => 'Once a day, a few requests that are the same bytes for every customer: to learn '
            . 'whether the license was revoked.',
        'security_advisories' => 'Security advisories',
        'security_advisories.what' => 'Once a day, one request that is the same for everyone.',
        'license_renewal' => 'License renewal',
        'license_renewal.what' => 'In the last part of the term, once a day until it is renewed: SHA-256 of the '
            . 'license key and of the document, a public key, a random number. Nothing about the machine.',
        'license_activation' => 'License activation',
        'license_activation.what' => 'Only when root runs the command, which first shows every byte.',
        'data_rights' => 'Requests about your rights',
        'data_rights.what' => 'Only when root runs the command, which first shows every byte.',
        'unknown_purpose.what' => 'A purpose of an agent that is newer than this page; the notice describes it.',
        'check' => 'Check now and show the bytes',
        'check.what' => 'The agent asks for license status and security advisories now; the requests are shown as '
            . 'sent.',

        'sent' => 'What was sent',
        'last_check' => 'Last successful check', 'next_check' => 'Next check', 'never' => 'none yet',
        'last_failure' => 'The last check failed',
        'sent.lead' => 'Every request with information about this server is in the ledger.',
        'sent.show' => 'Show what was sent', 'sent.root' => 'Root can see what was sent:',
        'sent.none' => 'Nothing about this server has been sent.',
        'sent.some' => 'Newest first: %2$d of %1$d',
        'sent.unknown' => 'The list is not available.', 'sent.when' => 'When',
        'sent.outcome' => 'Outcome', 'sent.to' => 'Recipient', 'sent.bytes' => 'Exact bytes, as root',
        'stage.sealed' => 'prepared, not sent', 'stage.attempted' => 'no reply: possibly sent',
        'stage.sent' => 'sent, not accepted', 'stage.answered' => 'sent, accepted',

        'dnt' => 'Do not track',
        'dnt.what' => 'While it is on, nothing is sent that distinguishes this server from another: reports and renewal stop, '
            . 'and a command writes its request to a file. Only requests that are the same for everyone continue.',
        'dnt.on' => 'On', 'dnt.off' => 'Off', 'dnt.set' => 'Turn do not track on',
        'dnt.by' => 'Set by:', 'dnt.unset' => 'Turn do not track off', 'dnt.unset.root' => 'Only root can turn it off:',

        'notice' => 'Privacy notice',
        'notice.lead' => 'What is processed, what for, on what legal ground, for how long, and who receives it.',
        'notice.show' => 'Read the notice', 'notice.root' => 'To read it on the server:',
        'notice.unknown' => 'The notice is not available.',

        'rights' => 'Your rights',
        'rights.lead' => 'You can ask which data this server sent are held, have them corrected or erased, have their use '
            . 'restricted, and object to it (KVKK art. 11 and 13, GDPR 15-22). An answer comes within 30 days, free '
            . 'of charge.',
        'rights.command' => 'From the server, as root; each command first shows what will be sent:',
        'rights.access' => 'asks which data are held', 'rights.erase' => 'has them erased',
        'rights.rectify' => 'has them corrected', 'rights.restrict' => 'has their use restricted',
        'rights.object' => 'objects to their use',
        'rights.export' => 'shows everything on one page, for an auditor',
        'rights.write' => 'No command line is needed: apply in writing, by registered e-mail (KEP) or e-mail. The '
            . 'reseller’s address:',
        'rights.notice' => 'The address of the panel’s vendor, and how to complain, are in the notice.',
        'rights.no_controller' => 'The license does not name an address of your reseller for this; ask your reseller.',

        'allow.title' => 'Consent: %s',
        'allow.lead' => 'The consent is given to the notice below. You can withdraw it at any time, without a reason, '
            . 'with one click.',
        'allow.read' => 'I have read the notice, and I consent to what it describes as: %s.',
        'allow.give' => 'Give consent',
        'allow.none' => 'No consent can be given while the notice cannot be shown.',

        'ok.withdraw' => '%s: consent withdrawn. Held reports were deleted, and nothing more is sent.',
        'ok.do_not_track' => 'Do not track is on. Nothing is sent that distinguishes this server from another.',
        'ok.dnt_off' => 'Do not track is off.',
        'ok.allow' => '%s: consent given.',
        'ok.preview' => 'The next report, exactly as it is. Nothing was sent by showing it.',
        'ok.check' => 'Checked. The requests, exactly as sent:',
        'bad.withdraw' => 'The withdrawal could not be confirmed. Run this on the server, as root: '
            . 'opanel-agent consent deny --all',
        'bad.do_not_track' => 'Do not track could not be confirmed. Run this on the server, as root: opanel-agent dnt on',
        'bad.dnt_off' => 'Do not track is still on. Root can see why: opanel-agent dnt explain',
        'bad.allow' => 'The consent was not recorded. Run this on the server, as root: opanel-agent consent allow %s',
        'bad.consent' => 'No consent was given: the box was not ticked, or the notice has changed meanwhile.',
        'bad.preview' => 'The report cannot be shown. Run this on the server, as root: opanel-agent data preview %s',
        'bad.check' => 'The check failed. Run this on the server, as root: opanel-agent license refresh',
        'bad.too_soon' => 'A check can be made once a minute. Try again in a minute.',
    ],
];
