<?php
/**
 * Provisioning module for WHMCS-like billing systems: sells, suspends and renews OPanel licenses over the authority's
 * management API. Copy to modules/servers/opanel/opanel.php; add a server whose host name is the authority's and whose
 * access hash (or password) is an API key (`opanel-authority api-key NAME --as RESELLER`).
 *
 * The order id is "whmcs-<service id>": a hook that is run twice finds the license of the first time. A service that was
 * terminated and is created again has its license back. A license that renews itself has a whole term from its renewal on;
 * one that does not has the paid term added to what is left, so the delegation has to permit both (reseller NAME
 * --max-term-days). A renewal is made once for each due date. Each function returns "success" or one sentence, as WHMCS
 * expects. Needs PHP 7.4 or newer, and nothing else.
 */

declare(strict_types=1);

function opanel_MetaData(): array
{
    return ['DisplayName' => 'OPanel license', 'APIVersion' => '1.1', 'RequiresServer' => true];
}

function opanel_ConfigOptions(): array
{
    return [
        'Tier' => ['Type' => 'text', 'Default' => 'pro'],
        'Seats' => ['Type' => 'text', 'Default' => '1', 'Description' => 'Servers at a time'],
        'Days' => ['Type' => 'text', 'Default' => '365', 'Description' => 'Term'],
        'Renews' => ['Type' => 'yesno', 'Default' => 'on', 'Description' => 'Off: a trial or a prepaid term'],
    ];
}

function opanel_TestConnection(array $params): array
{
    [$status, $reply] = opanel_ask($params, 'GET', '/licenses?limit=1');
    return ['success' => $status === 200, 'error' => $status === 200 ? '' : opanel_error($reply)];
}

function opanel_CreateAccount(array $params): string
{
    $order = opanel_terms($params) + ['order_id' => opanel_order($params), 'days' => opanel_days($params)];
    [$status, $reply] = opanel_ask($params, 'POST', '/licenses', $order);
    if ($status !== 200 && $status !== 201) {
        return opanel_error($reply);
    }
    $again = $status === 200 ? opanel_revive($params) : 'success';
    if ($again !== 'success') {
        return $again;
    }
    // shown to the customer in the product's details and in the welcome e-mail
    if (isset($params['model'])) {
        $params['model']->serviceProperties->save(['License key' => $reply['license_key']]);
    }
    return 'success';
}

function opanel_SuspendAccount(array $params): string
{
    return opanel_act($params, 'suspend', ['reason' => (string) ($params['suspendreason'] ?? 'not paid')]);
}

function opanel_UnsuspendAccount(array $params): string
{
    return opanel_act($params, 'resume', ['reason' => 'paid']);
}

function opanel_TerminateAccount(array $params): string
{
    return opanel_act($params, 'revoke', ['reason' => 'terminated']);
}

function opanel_Renew(array $params): string
{
    $due = isset($params['model']) ? (string) ($params['model']->nextduedate ?? '') : '';
    $key = 'renew-' . opanel_order($params) . '-' . ($due ?: gmdate('Y-m-d'));
    $term = ['days' => opanel_days($params), 'extend' => !opanel_renews($params)];
    return opanel_act($params, 'renew', $term, $key);
}

function opanel_ChangePackage(array $params): string
{
    [$status, $reply] = opanel_ask($params, 'PATCH', opanel_path($params), opanel_terms($params));
    return $status === 200 ? 'success' : opanel_error($reply);
}

// ---- what the functions above share

function opanel_order(array $params): string
{
    return 'whmcs-' . $params['serviceid'];
}

function opanel_path(array $params): string
{
    return '/licenses/' . rawurlencode(opanel_order($params));
}

function opanel_terms(array $params): array
{
    return [
        'tier' => (string) $params['configoption1'],
        'seats' => (int) ($params['configoption2'] ?: 1),
        'renews' => opanel_renews($params),
    ];
}

function opanel_days(array $params): int
{
    return (int) ($params['configoption3'] ?: 365);
}

function opanel_renews(array $params): bool
{
    return ($params['configoption4'] ?? 'on') === 'on';
}

/** Of an order that was sold before: a license that was revoked or has ended since runs again, for a term from now on. */
function opanel_revive(array $params): string
{
    [$status, $license] = opanel_ask($params, 'GET', opanel_path($params));
    if ($status !== 200) {
        return opanel_error($license);
    }
    if ($license['state'] === 'revoked') {
        $resumed = opanel_act($params, 'resume', ['reason' => 'created again']);
        if ($resumed !== 'success') {
            return $resumed;
        }
    }
    if ($license['state'] !== 'revoked' && $license['state'] !== 'ended') {
        return 'success';
    }
    return opanel_act($params, 'renew', ['days' => opanel_days($params), 'reason' => 'created again']);
}

function opanel_act(array $params, string $act, array $body, string $key = ''): string
{
    [$status, $reply] = opanel_ask($params, 'POST', opanel_path($params) . '/' . $act, $body, $key);
    return $status === 200 ? 'success' : opanel_error($reply);
}

/** Status and decoded JSON of a reply; status 0 where there was none. */
function opanel_ask(array $params, string $method, string $path, ?array $body = null, string $idempotency = ''): array
{
    $key = (string) (($params['serveraccesshash'] ?? '') ?: ($params['serverpassword'] ?? ''));
    $host = (string) $params['serverhostname'];
    $port = ($params['serverport'] ?? '') ? ':' . $params['serverport'] : '';
    $scheme = ($params['serversecure'] ?? true) ? 'https' : 'http';
    $context = stream_context_create([
        'http' => [
            'method' => $method,
            'header' => "Authorization: Bearer $key\r\nContent-Type: application/json\r\n"
                . ($idempotency === '' ? '' : "Idempotency-Key: $idempotency\r\n"),
            'content' => $body === null ? '' : json_encode($body, JSON_UNESCAPED_UNICODE | JSON_THROW_ON_ERROR),
            'ignore_errors' => true,
            'follow_location' => 0,
            'timeout' => 30,
        ],
        'ssl' => ['verify_peer' => true, 'verify_peer_name' => true],
    ]);
    $text = @file_get_contents("$scheme://$host$port/api/v1$path", false, $context);
    if ($text === false || !isset($http_response_header[0])) {
        return [0, ['title' => 'cannot reach the license authority', 'detail' => 'look at host, port and TLS']];
    }
    preg_match('~^HTTP/\S+ (\d{3})~', $http_response_header[0], $found);
    return [(int) ($found[1] ?? 0), json_decode($text, true) ?: []];
}

function opanel_error(array $reply): string
{
    $fields = isset($reply['fields']) ? ' (' . implode(', ', $reply['fields']) . ')' : '';
    return trim(($reply['title'] ?? 'no answer') . $fields . '. ' . ($reply['detail'] ?? ''));
}
