-- A database of the Python daemon (bley 2.0) on SQLite or PostgreSQL: no unique key, duplicates, local time (here Europe/Berlin).
-- check_taken_over() in cases.c knows what comes of it.
CREATE TABLE bley_status (ip VARCHAR(39) NOT NULL, status SMALLINT NOT NULL DEFAULT 1,
    last_action TIMESTAMP NOT NULL, sender VARCHAR(254), recipient VARCHAR(254), fail_count INT DEFAULT 0);
CREATE INDEX bley_status_index ON bley_status (ip, sender, recipient);
CREATE TABLE bley_log (logtime TIMESTAMP NOT NULL, ip VARCHAR(39) NOT NULL, sender VARCHAR(254),
    recipient VARCHAR(254), action VARCHAR(254), check_dnswl INT DEFAULT 0, check_dnsbl INT DEFAULT 0,
    check_helo INT DEFAULT 0, check_dyn INT DEFAULT 0, check_db INT DEFAULT 0, check_spf INT DEFAULT 0,
    check_s_eq_r INT DEFAULT 0, check_postmaster INT DEFAULT 0, check_cache INT DEFAULT 0);
CREATE INDEX bley_log_index ON bley_log (logtime, action);

INSERT INTO bley_status VALUES ('192.0.2.1', 2, '2026-07-01 12:00:00', 'folded@example.com', 'rcpt@example.org', 5);
INSERT INTO bley_status VALUES ('192.0.2.1', 0, '2026-07-02 12:00:00.500000', 'folded@example.com', 'rcpt@example.org', 0);
INSERT INTO bley_status VALUES ('192.0.2.1', 2, '2026-07-03 12:00:00.250000', 'folded@example.com', 'rcpt@example.org', 1);
INSERT INTO bley_status VALUES ('192.0.2.1', 2, '2026-01-15 12:30:00', 'single@example.com', 'rcpt@example.org', 1);
INSERT INTO bley_status VALUES ('192.0.2.2', 1, '2026-07-01 23:59:59.999999', NULL, 'rcpt@example.org', 0);
INSERT INTO bley_status VALUES ('2001:0db8:0000:0000:0000:0000:0000:0001', 2, '2026-01-01 00:00:00.500000', 'six@example.com', 'rcpt@example.org', 3);
INSERT INTO bley_status VALUES ('2001:DB8::1', 2, '2025-01-01 00:00:00', 'six@example.com', 'rcpt@example.org', 1);
INSERT INTO bley_status VALUES ('fe80::a:0:0:1%eth0', 2, '2026-01-01 00:00:00', 'zone@example.com', 'rcpt@example.org', 0);
INSERT INTO bley_status VALUES ('::ffff:192.0.2.2', 1, '2026-06-01 00:00:00', NULL, 'rcpt@example.org', 0);
INSERT INTO bley_status VALUES ('no:address::', 2, '2026-01-01 00:00:00', 'none@example.com', 'rcpt@example.org', 0);

INSERT INTO bley_log VALUES ('2026-01-15 12:30:00', '192.0.2.1', 'single@example.com', 'rcpt@example.org', 'DEFER_IF_PERMIT', 0, 0, 2, 0, -1, 0, 0, 0, 0);
INSERT INTO bley_log VALUES ('2026-07-01 23:59:59.999999', '192.0.2.2', '', 'rcpt@example.org', 'DUNNO', 1, 0, 0, 0, -1, 0, 0, 0, 1);
INSERT INTO bley_log VALUES ('2026-07-02 12:00:00', '2001:DB8::1', 'six@example.com', 'rcpt@example.org', 'DEFER_IF_PERMIT', 0, 0, 2, 0, -1, 0, 0, 0, 0);
INSERT INTO bley_log VALUES ('2026-07-02 13:00:00', 'no:address::', 'none@example.com', 'rcpt@example.org', 'DEFER_IF_PERMIT', 0, 0, 2, 0, -1, 0, 0, 0, 0);
