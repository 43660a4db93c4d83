<?php
declare(strict_types=1);

namespace Shop;

/** What the platform tells the application: relationships by name. */
final class Platform
{
    /** @return array<string, mixed> */
    public static function relationship(string $name): array
    {
        $all = json_decode(base64_decode((string) getenv('PLATFORM_RELATIONSHIPS')), true, 32, JSON_THROW_ON_ERROR);
        return $all[$name][0];
    }

    public static function database(): \PDO
    {
        $db = self::relationship('database');
        $dsn = sprintf('mysql:host=%s;port=%d;dbname=%s;charset=utf8mb4', $db['host'], $db['port'], $db['path']);
        return new \PDO($dsn, $db['username'], $db['password'], [\PDO::ATTR_ERRMODE => \PDO::ERRMODE_EXCEPTION]);
    }

    public static function redis(): \Redis
    {
        $at = self::relationship('redis');
        $redis = new \Redis();
        $redis->connect($at['host'], (int) $at['port'], 2.0);
        return $redis;
    }

    /** One request to the search service. @return array<string, mixed> */
    public static function search(string $method, string $path, ?array $body = null): array
    {
        $at = self::relationship('search');
        $context = stream_context_create(['http' => [
            'method' => $method,
            'header' => "Content-Type: application/json\r\n",
            'content' => $body === null ? '' : json_encode($body, JSON_THROW_ON_ERROR),
            'ignore_errors' => true,
            'timeout' => 10,
        ]]);
        $answer = file_get_contents(sprintf('http://%s:%d%s', $at['host'], $at['port'], $path), false, $context);
        return json_decode((string) $answer, true) ?? [];
    }
}
