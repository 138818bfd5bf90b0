drop table publish_keys;
