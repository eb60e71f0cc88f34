-- How many sessions of this bucket may have expired, how many ends wait to be told, how many sessions there are.
call('ZREMRANGEBYSCORE', base .. 't', '-inf', ARGV[1])
return {
  call('ZCOUNT', base .. 'x', '-inf', ARGV[1]),
  call('ZCOUNT', base .. 'ec', '-inf', ARGV[1]),
  call('ZCARD', base .. 'a'),
}
