"""How messages travel: sealed headers, one gRPC stream that the party dials, certificates, a journal of answers."""
