<?php
// The deploy hook's work: schema, first products, search index. Safe to run again.
declare(strict_types=1);

require __DIR__ . '/../vendor/autoload.php';

use Shop\Platform;

$db = Platform::database();
$db->exec('CREATE TABLE IF NOT EXISTS migration (name VARCHAR(190) PRIMARY KEY, at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)');
$files = glob(__DIR__ . '/../migrations/*.sql');
sort($files);
foreach ($files as $file) {
    $name = basename($file);
    $known = $db->prepare('SELECT 1 FROM migration WHERE name = ?');
    $known->execute([$name]);
    if ($known->fetchColumn()) {
        continue;
    }
    foreach (array_filter(array_map('trim', explode(";\n", file_get_contents($file)))) as $statement) {
        $db->exec($statement);
    }
    $db->prepare('INSERT INTO migration (name) VALUES (?)')->execute([$name]);
    echo "migrated $name\n";
}
foreach ($db->query('SELECT id, name, story FROM product') as $row) {
    Platform::search('PUT', '/products/product/' . $row['id'], ['name' => $row['name'], 'story' => $row['story']]);
}
Platform::search('POST', '/products/_refresh');
Platform::redis()->flushAll();
echo "indexed the products\n";
