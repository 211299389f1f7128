"""Stack texts as runtimes print them."""

from __future__ import annotations

JAVA = """\
java.lang.IllegalStateException: no cart
\tat com.example.shop.Cart.load(Cart.java:42)
\tat com.example.shop.Handler.handleRequest(Handler.java:17)
\tat java.base/jdk.internal.reflect.DirectMethodHandleAccessor.invoke(DirectMethodHandleAccessor.java:103)
\tat app//com.example.shop.Main.main(Main.java)
\tat com.example.shop.Native.call(Native Method)
\tat com.example.shop.Made.up(Unknown Source)
"""

JAVA_CAUSES = """\
java.lang.RuntimeException: outer
\tat com.example.shop.Handler.handleRequest(Handler.java:17)
\tSuppressed: java.io.IOException: close
\t\tat com.example.shop.File.close(File.java:3)
Caused by: java.io.UncheckedIOException: middle
\tat com.example.shop.File.read(File.java:9)
\t... 12 more
Caused by: java.io.IOException: inner
\tat com.example.shop.Disk.read(Disk.java:5)
\t... 13 more
"""

JAVA_MULTI_LINE = """\
java.lang.Exception: two
lines
\tat com.example.shop.Handler.handleRequest(Handler.java:17)
Caused by: java.lang.Error: three
more
lines
\tat com.example.shop.File.read(File.java:9)
"""

PHP_AS_JAVA = """\
RuntimeException: no cart
\tat Shop\\Cart->load(/var/task/cart.php:42)
\tat {main}(/var/task/index.php:3)
Caused by: LogicException: inner
\tat Shop\\Cart->open(/var/task/cart.php:7)
\t... 1 more
"""

PHP = """\
#0 /var/task/cart.php(42): Shop\\Cart->open('7')
#1 /var/task/index.php(3): Shop\\Cart->load()
#2 [internal function]: handler()
#3 {main}
"""

PYTHON = """\
Traceback (most recent call last):
  File "/var/task/app.py", line 12, in handler
    return load(event)
  File "/var/task/cart.py", line 42, in load
    raise ValueError("no cart")
ValueError: no cart
"""

PYTHON_DURING = """\
Traceback (most recent call last):
  File "/var/task/cart.py", line 40, in load
    return carts[key]
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/var/task/app.py", line 12, in handler
    return load(event)
  File "/var/task/cart.py", line 42, in load
    raise RuntimeError("outer")
RuntimeError: outer
"""

PYTHON_DIRECT = PYTHON_DURING.replace(
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)

PYTHON_CARETS = """\
Traceback (most recent call last):
  File "/var/task/app.py", line 12, in handler
    return event["a"] / event["b"]
           ~~~~~~~~~~~^~~~~~~~~~~~
ZeroDivisionError: division by zero
"""

PYTHON_COMMA = """\
Traceback (most recent call last):
  File "/var/task/a, b/app.py", line 12, in <lambda>
    raise ValueError("x")
  File "<string>", line 1, in <module>
ValueError: x
"""

PYTHON_GROUP = """\
  + Exception Group Traceback (most recent call last):
  |   File "/var/task/app.py", line 12, in handler
  |     raise ExceptionGroup("two", [ValueError(1), TypeError(2)])
  | ExceptionGroup: two (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | ValueError: 1
    +---------------- 2 ----------------
    | TypeError: 2
    +------------------------------------
"""

NODE = """\
TypeError: no cart
    at Cart.load (/var/task/cart.js:42:11)
    at async handler (/var/task/index.js:17:5)
    at /var/task/node_modules/pg/lib/client.js:526:17
    at new Promise (<anonymous>)
    at process.processTicksAndRejections (node:internal/process/task_queues:95:5)
"""

NODE_FILE_URLS = """\
TypeError: no cart
    at load (file:///var/task/cart.mjs:42:11)
    at file:///var/task/index.mjs:17:5
    at Runtime.handleOnceNonStreaming (file:///var/runtime/index.mjs:1173:29)
"""

NODE_WINDOWS = """\
Error: x
    at load (C:\\task\\cart.js:42:11)
    at Object.<anonymous> (C:\\task\\index.js:1:1)
"""

DOTNET = """\
System.InvalidOperationException: no cart
   at Shop.Cart.Load(String id) in /var/task/Cart.cs:line 42
   at Shop.Handler.Handle(Request request) in /var/task/Handler.cs:line 17
   at System.Runtime.CompilerServices.TaskAwaiter.ThrowForNonSuccess(Task task)
"""

DOTNET_INNER = """\
System.Exception: outer
 ---> System.IO.IOException: inner
   at Shop.Disk.Read() in /var/task/Disk.cs:line 5
   --- End of inner exception stack trace ---
   at Shop.Handler.Handle(Request request) in /var/task/Handler.cs:line 17
"""

GO = """\
goroutine 7 [running]:
runtime/debug.Stack()
\t/usr/local/go/src/runtime/debug/stack.go:24 +0x5e
go.opentelemetry.io/otel/sdk/trace.recordStackTrace()
\t/root/go/pkg/mod/go.opentelemetry.io/otel/sdk@v1.37.0/trace/span.go:560 +0x1d
main.(*Cart).Load(0xc000012345, {0x1234, 0x7})
\t/var/task/cart.go:42 +0x1a5
main.main()
\t/var/task/main.go:17 +0x25
created by net/http.(*Server).Serve in goroutine 1
\t/usr/local/go/src/net/http/server.go:3285 +0x4b4
"""

RUBY = """\
/var/task/cart.rb:42:in `load': no cart (RuntimeError)
\tfrom /var/task/app.rb:17:in `handler'
\tfrom /var/runtime/lib/lambda_handler.rb:28:in `call_handler'
"""

RUST = """\
   0: std::backtrace_rs::backtrace::libunwind::trace
             at /rustc/abc/library/std/src/../../backtrace/src/backtrace/libunwind.rs:116:5
   1: shop::cart::load
             at ./src/cart.rs:42:9
   2: shop::main
             at ./src/main.rs:17:5
"""
