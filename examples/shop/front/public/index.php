<?php
declare(strict_types=1);

require __DIR__ . '/../vendor/autoload.php';

use Shop\Money\Price;
use Shop\Platform;

$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
$h = fn (string $text): string => htmlspecialchars($text, ENT_QUOTES);
$db = Platform::database();

if ($_SERVER['REQUEST_METHOD'] === 'POST' && $path === '/buy') {
    $db->prepare('INSERT INTO purchase (product) VALUES (?)')->execute([(int) ($_POST['product'] ?? 0)]);
    Platform::redis()->incr('purchases');
    header('Location: /', true, 303);
    exit;
}
if ($_SERVER['REQUEST_METHOD'] === 'POST' && $path === '/upload' && isset($_FILES['picture'])) {
    $name = preg_replace('/[^a-z0-9.]/', '-', strtolower(basename($_FILES['picture']['name'])));
    move_uploaded_file($_FILES['picture']['tmp_name'], __DIR__ . '/uploads/' . $name);
    header('Location: /uploads/' . $name, true, 303);
    exit;
}
if ($path === '/health') {
    header('Content-Type: application/json');
    echo json_encode([
        'products' => (int) $db->query('SELECT COUNT(*) FROM product')->fetchColumn(),
        'purchases' => (int) $db->query('SELECT COUNT(*) FROM purchase')->fetchColumn(),
        'found' => Platform::search('GET', '/products/_search?q=oak')['hits']['total'] ?? null,
        'api' => json_decode((string) @file_get_contents('http://api.internal/api/'), true)['app'] ?? null,
        'release' => getenv('PLATFORM_TREE_ID'),
    ]);
    exit;
}
if ($path !== '/') {
    http_response_code(404);
    echo '<h1>Not here</h1><p><a href="/">To the shop</a></p>';
    exit;
}

$words = trim($_GET['q'] ?? '');
$ids = null;
if ($words !== '') {
    $hits = Platform::search('GET', '/products/_search', ['query' => ['multi_match' => ['query' => $words, 'fields' => ['name', 'story'], 'fuzziness' => 'AUTO']]]);
    $ids = array_map(fn ($hit) => (int) $hit['_id'], $hits['hits']['hits'] ?? []);
}
$products = $db->query('SELECT * FROM product ORDER BY id')->fetchAll(PDO::FETCH_ASSOC);
if ($ids !== null) {
    $products = array_filter($products, fn ($p) => in_array((int) $p['id'], $ids, true));
}
$redis = Platform::redis();
$visits = $redis->incr('visits');
?>
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>The Slipway shop</title>
<link rel="stylesheet" href="/shop.css">
<header>
    <h1>The Slipway shop</h1>
    <p>Things that were worth launching.</p>
    <form><input name="q" value="<?= $h($words) ?>" placeholder="Search: oak, wind, light …" aria-label="Search"></form>
</header>
<main>
<?php foreach ($products as $product): ?>
    <article style="--hue: <?= (int) $product['hue'] ?>">
        <div class="picture" aria-hidden="true"></div>
        <h2><?= $h($product['name']) ?></h2>
        <p><?= $h($product['story']) ?></p>
        <form method="post" action="/buy">
            <input type="hidden" name="product" value="<?= (int) $product['id'] ?>">
            <button><?= $h((string) Price::ofCents((int) $product['cents'])) ?></button>
        </form>
    </article>
<?php endforeach ?>
<?php if (!$products): ?><p>Nothing found for “<?= $h($words) ?>”. <a href="/">Show all</a></p><?php endif ?>
</main>
<footer>
    Visit <?= (int) $visits ?> · <?= (int) $redis->get('purchases') ?> sold since the last deployment ·
    environment <?= $h((string) getenv('PLATFORM_BRANCH')) ?> · tree <?= $h(substr((string) getenv('PLATFORM_TREE_ID'), 0, 7)) ?>
</footer>
</html>
