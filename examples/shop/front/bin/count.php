<?php
require __DIR__ . '/../vendor/autoload.php';
echo Shop\Platform::database()->query('SELECT COUNT(*) FROM product')->fetchColumn();
