# A server that is a shell script.
while IFS= read -r line; do
  case $line in
  *'"initialize"'*) echo '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"shell","version":"1"}}}' ;;
  *'"tools/list"'*) echo "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{\"tools\":[{\"name\":\"shell$((6 * 7))\",\"inputSchema\":{\"type\":\"object\"}}]}}" ;;
  esac
done
