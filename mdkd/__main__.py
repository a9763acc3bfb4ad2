from mdkd.cli import main

raise SystemExit(main())
