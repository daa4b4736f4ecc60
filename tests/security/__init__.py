"""The security list of the reliability notes (§5), and where each line of it is tested.

| id  | requirement                                   | test |
|-----|-----------------------------------------------|------|
| S1  | the key: environment only, checked first      | `unit/test_http.py::test_keys`, `acceptance/test_endings.py::test_no_usable_key` |
| S2  | nothing secret in what is kept or shown       | `security/test_s02_redaction.py`, `acceptance/test_secrets.py`, `unit/test_http.py` (echoes) |
| S3  | no key in the database                        | `store/test_sqlite_store.py::test_no_secret_has_a_place_in_the_database`, `acceptance/test_secrets.py` |
| S4  | a manifest sets no address, header or proxy   | `security/test_s04_manifest.py` |
| S5  | the API's address                             | `unit/test_http.py::test_base_urls` |
| S6  | redirects, and the key that does not follow   | `unit/test_http.py` (redirects, result files) |
| S7  | result addresses lead to nobody inside        | `security/test_s07_addresses.py` |
| S8  | task ids are quoted whole                     | `contract/test_provider.py::test_an_id_of_any_signs_is_asked_for_whole` |
| S9  | certificates are verified                     | `security/test_s09_tls.py` |
| S10 | answers are bounded, of one meaning           | `security/test_s10_answers.py`, `unit/test_http.py` (bounded, packed) |
| S11 | downloads are bounded                         | `unit/test_http.py` (drops), `runner/test_runner_fetching.py` (too large, no room) |
| S12 | YAML                                          | `manifest/test_reading.py`, `manifest/test_mutations.py` |
| S13 | frames are files that the user named          | `media/test_frames.py`, `runner/test_runner_submitting.py::test_a_frame_that_changed_is_not_sent` |
| S14 | names of clips                                | `manifest/test_expand.py`, `manifest/test_language.py` |
| S15 | links in the output folder                    | `unit/test_outputs.py` (links) |
| S16 | rights of what is written                     | `store/test_sqlite_store.py::test_the_database_is_its_owners_alone`, `store/test_highwater.py` |
| S17 | the report runs and loads nothing             | `security/test_s17_report.py` |
| S18 | tables for spreadsheets                       | `security/test_s18_csv.py` |
| S19 | terminals                                     | `security/test_s19_terminal.py` |
| S20 | SQL, and databases of others                  | `store/test_sqlite_store.py` (strangers, triggers, durable and strict), `contract/test_store.py` |
| S21 | no way to run what was read                   | `security/test_s21_source.py` |
| S22 | dependencies                                  | not a test: `pyproject.toml` bounds each one, with its reason |
| S23 | the budget holds whatever races               | `runner/test_runner_submitting.py` (budget), `contract/test_store.py` (cap) |
| S24 | proxies                                       | `security/test_s24_proxies.py`, `security/test_s07_addresses.py` |
| S25 | prompts are sent as they are                  | `unit/test_request.py`, `manifest/test_reading.py` |
"""
